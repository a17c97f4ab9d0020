"""Metrics as a table people read."""

from rich.table import Table

FIRST = ("val/map", "val/map_50", "val/map_75", "val/top1", "val/top5", "val/loss")


def metrics_table(metrics: dict[str, float]) -> Table:
    """The numbers one looks for first, first."""
    table = Table(title="Result")
    table.add_column("metric")
    table.add_column("value", justify="right")
    known = [name for name in FIRST if name in metrics]
    for name in [*known, *(name for name in metrics if name not in known)]:
        table.add_row(name, f"{metrics[name]:.4f}")
    return table
