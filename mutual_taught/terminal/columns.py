"""A table of text that fits the terminal: columns that do not fit go below, rows named again."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from mutual_taught.terminal.signs import fit, visible

GAP = 2
WIDEST = 32  # a longer cell is cut, so that one name or value does not take the line


def lines(table: Sequence[Sequence[str]], width: int, encoding: str | None) -> Iterator[str]:
    """Lay out a table in as many blocks as the width needs, each with the first column.

    Args:
        table: rows of equal length, the header first.
        width: of the terminal, in cells.
        encoding: of the terminal; what it lacks is written in plain letters.
    """
    shown = [[_cell(text, encoding) for text in row] for row in table]
    columns = list(zip(*shown, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    for number, block in enumerate(_blocks(widths, width)):
        if number:
            yield ""
        for row in shown:
            cells = [set_cell_size(row[column], widths[column]) for column in block]
            yield (" " * GAP).join(cells).rstrip()


def _blocks(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Give the columns of each block: the first, and as many of the others as fit, at least one."""
    block, used = [0], widths[0]
    for column in range(1, len(widths)):
        if len(block) > 1 and used + GAP + widths[column] > width:
            yield block
            block, used = [0], widths[0]
        block.append(column)
        used += GAP + widths[column]
    yield block


def _cell(text: str, encoding: str | None) -> str:
    plain = fit(visible(text), encoding)
    return plain if cell_len(plain) <= WIDEST else set_cell_size(plain, WIDEST - 3).rstrip() + "..."
