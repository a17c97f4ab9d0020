from effdet_lab.report.markup import Html, join, tag


def test_text_and_attributes_are_escaped_and_markup_is_not():
    assert tag("p", "<b>", tag("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"
    assert tag("a", "x", title='" onclick="evil()') == '<a title="&quot; onclick=&quot;evil()">x</a>'


def test_a_string_that_looks_like_markup_stays_text_when_joined():
    assert join(["<hr>", Html("<hr>"), None, 3]) == "&lt;hr&gt;<hr>3"


def test_empty_elements_have_no_end_and_absent_attributes_are_left_out():
    assert tag("img", alt="", title=None) == '<img alt="">'
    assert (
        tag("svg", viewBox="0 0 1 1", aria_label="x", hidden=True)
        == '<svg viewBox="0 0 1 1" aria-label="x" hidden></svg>'
    )
