"use strict";

// A click on a column's head sorts by it, a second one the other way; what was not measured stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const start = head.classList.contains("number") ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === start ? (start === "ascending" ? "descending" : "ascending") : start;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const missing = (value) => value === "" || value === "\u2013";
      const compared = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => missing(a) - missing(b) || sign * compared(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// What a chart's point says is shown at once, beside the mouse.
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip";
tip.hidden = true;
for (const title of document.querySelectorAll("svg title")) {
  const place = title.parentNode;
  const words = title.textContent;
  title.remove();
  const show = (event) => {
    tip.textContent = words;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(left, 8)}px, ${Math.max(event.clientY - tip.offsetHeight - 12, 8)}px)`;
    place.parentNode.classList.add("lit");
  };
  place.addEventListener("pointerenter", show);
  place.addEventListener("pointermove", show);
  place.addEventListener("pointerleave", () => {
    tip.hidden = true;
    place.parentNode.classList.remove("lit");
  });
}

// A picture grows when it is clicked.
for (const picture of document.querySelectorAll(".pictures figure")) {
  picture.addEventListener("click", () => picture.classList.toggle("large"));
}
