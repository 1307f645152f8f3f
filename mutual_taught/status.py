"""One table of the run so far, for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from mutual_taught import decision, files, report
from mutual_taught.signs import fit, visible

NUMBERS = {
    "win rate on D_MS": report.ROWS["win rate on D_MS"],
    "pairs kept": report.ROWS["ranked pairs kept"],
    "pseudo pairs kept": report.ROWS["pseudo pairs kept"],
    "without a reward": report.unscored,
    "ε_t": report.ROWS["tolerance"],
    "gold": report.ROWS["gold"],
    "change of gold from base": report.ROWS["gold, change from base"],
    "win rate vs base (gold)": report.ROWS["win rate vs base (gold)"],
    "mean reward, r_0": report.ROWS["mean reward, r_0"],
    "mean reward, r_t": report.ROWS["mean reward, r_t"],
    "length, tokens": report.ROWS["length, tokens"],
    "r_t right on gold pairs": report.ROWS["r_t on held-out gold pairs"],
    "r_t right on own samples": report.ROWS["r_t on own samples"],
    "r_0 right on own samples": report.ROWS["r_0 on own samples"],
}


def state(folder: Path) -> str:
    """Say how far an iteration has come."""
    if folder.name == "0":
        return "start"
    done = report.read_metrics(folder / "metrics")
    if "select_policy" not in done:
        last = [stage for stage in report.STAGES if stage in done]
        return f"after {last[-1]}" if last else "begun"
    finished = "" if "eval" in done else ", unfinished"
    return report.state(done, int(folder.name)) + finished


def policy_of(folder: Path) -> str:
    """Name the iteration whose policy an iteration ends with."""
    path = folder / "decision.json"
    return decision.read(path).policy_from if path.exists() else "–"


def show(run: Path) -> None:
    """Print the table, one column an iteration."""
    folders = files.iterations(run)
    console = Console(width=max(100, 34 + 26 * len(folders)), markup=False, emoji=False)

    def seen(text: object) -> str:
        return fit(visible(str(text)), console.encoding)

    table = Table(title=seen(f"Mutual-Taught in {run}"), title_justify="left")
    table.add_column("")
    for folder in folders:
        table.add_column(f"t = {folder.name}", overflow="fold")
    table.add_row("state", *(seen(state(folder)) for folder in folders))
    table.add_row("policy of iteration", *(seen(policy_of(folder)) for folder in folders))
    metrics = [report.read_metrics(folder / "metrics") for folder in folders]
    for name, make in NUMBERS.items():
        table.add_row(seen(name), *(seen(make(numbers)) for numbers in metrics))
    console.print(table)
    console.print("Brackets: 95 % intervals. The win rate on D_MS is the best checkpoint's.")
    reports = [path for folder in folders if (path := folder / "report" / "report.md").exists()]
    if reports:
        console.print(seen(f"Report: {reports[-1]}"))
    last = [folders[-1] / name for name in ("policy", "reward_model")]
    if reports and reports[-1].is_relative_to(folders[-1]) and all(map(Path.exists, last)):
        console.print(seen(f"Final models: {last[0]}, {last[1]}"))
    else:
        console.print("Not finished: dvc repro goes on.")
