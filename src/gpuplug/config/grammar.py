"""The one option table and the verbs, as a user types them; nothing else lists an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.config.convert import (
    CLOUDS,
    CUDAS,
    SPEND_BY,
    UNFETCHED,
    cloud,
    cuda,
    data_size,
    dollars,
    folder,
    gigabytes,
    gpus,
    hours,
    image,
    mbps,
    names,
    share,
    since,
    spend_by,
    terms,
    unfetched,
    volume_gigabytes,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CELL = "cell"


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table. `convert` is None for a switch; `default` is written as a user would type it.

    `example` is a value that fits, for rows whose default is empty; `choices` are words that fit, all of them or those
    beside numbers.
    """

    flags: tuple[str, ...]
    dest: str
    convert: Callable[[str], object] | None
    default: str
    metavar: str
    help: str
    verbs: tuple[str, ...]
    env: str = ""
    repeat: bool = False
    example: str = ""
    choices: tuple[str, ...] = ()
    command_only: bool = False


VERBS: dict[str, str] = {
    "status": "what runs, what it costs, what was spent today (also `%gpu` alone)",
    "prices": "what can be rented now, cheapest true price first: prices [GPU...] [--history]",
    "up": "rent an instance for this notebook without running anything",
    "down": "destroy this notebook's instances and prove it: down [NAME...]",
    "stop": "let this notebook's instances rest: the disk stays and bills: stop [NAME...]",
    "start": "start what rests, or reach what runs, and bring home results that wait there: start [NAME...]",
    "extend": "put off the hard end of this notebook's instances: extend 1h [NAME...]",
    "adopt": "take an instance of a notebook that is gone, or count and end one that another computer rented: adopt ID...",
    "ls": "every instance of the account that carries our label, and what each costs",
    "files": "the files in the working folder on the instance",
    "doctor": "look at keys, balance, clock, SSH, agent, ledger and versions; say what to mend",
    "panel": "prices, instances, jobs and spend as a live panel in the notebook",
    "spend": "what was spent, by instance, day, gpu, notebook, cell or platform: spend [--by day] [--since 7d]",
    "budget": "what may be spent: budget [5/day] [100/month] [3/instance]; off/day lifts one; raising one asks",
}
# What only the command has: it needs no notebook, and a notebook no timer.
COMMANDS: dict[str, str] = {
    "reap": "end what nobody uses and prove it; ask about what only you can decide; --install does it by a timer",
}
TAKES_WORDS = frozenset({"prices", "down", "stop", "start", "extend", "adopt", "budget"})

RENT = (CELL, "up")
_LOOK = (CELL, "up", "prices")

OPTIONS: tuple[Option, ...] = (
    Option(
        ("-p", "--platform"),
        "platform",
        words,
        "any",
        "NAME[,NAME]",
        "where: vast, runpod, local, ssh:HOST (a machine that you have), or any (every platform with a key; local when there is none)",
        _LOOK,
        "GPUPLUG_PLATFORM",
    ),
    Option(
        ("-g", "--gpu"),
        "gpu",
        gpus,
        "",
        "NAME[:N][,...]",
        "GPU models in order of preference, in any spelling, or sizes (24GB); empty means any",
        _LOOK,
        "GPUPLUG_GPU",
        example="RTX_4090",
    ),
    Option(
        ("--max-price",),
        "max_price",
        dollars,
        "0.50",
        "USD",
        "refuse a machine that costs more per hour (true price: GPU and disk)",
        _LOOK,
        "GPUPLUG_MAX_PRICE",
    ),
    Option(
        ("--budget",),
        "budget",
        dollars,
        "2.00",
        "USD",
        "what this cell may cost at most; the instance enforces it too",
        RENT,
    ),
    Option(
        ("--for",),
        "terms",
        terms,
        "15m,4h",
        "LEASE[,HARD]",
        "the instance ends so long after the last contact or job, and in any case after HARD",
        RENT,
        "GPUPLUG_FOR",
    ),
    Option(
        ("--unfetched",),
        "unfetched",
        unfetched,
        "stop",
        "WHAT",
        "at the end of the lease, with results that nobody has: stop where the disk stays, or wait, until the budget is spent; or destroy",
        RENT,
        choices=UNFETCHED,
    ),
    Option(
        ("--image",),
        "image",
        image,
        "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime",
        "NAME",
        "container image",
        _LOOK,
        "GPUPLUG_IMAGE",
    ),
    Option(("--disk",), "disk", gigabytes, "20", "GB", "disk of the container", _LOOK),
    Option(
        ("--spot",),
        "spot",
        None,
        "off",
        "",
        "a machine that a higher bid can take away, for less; bids 1.2 x the least, within --max-price",
        _LOOK,
    ),
    Option(
        ("--cloud",),
        "cloud",
        cloud,
        "any",
        "KIND",
        "who runs the machine: secure (a data center), community, any",
        _LOOK,
        choices=CLOUDS,
    ),
    Option(("--region",), "region", words, "", "PLACE[,PLACE]", "country codes or names, any of which will do", _LOOK),
    Option(("--min-net",), "min_net", mbps, "0", "MBIT/S", "least speed at which the machine downloads", _LOOK),
    Option(
        ("--min-reliability",),
        "min_reliability",
        share,
        "0.95",
        "SHARE",
        "least reliability, where the platform tells one",
        _LOOK,
    ),
    Option(
        ("--cuda",),
        "cuda",
        cuda,
        "image",
        "VERSION",
        "least CUDA that the driver does: a version, image (what the image's name says) or any",
        _LOOK,
        choices=CUDAS,
    ),
    Option(("--hours",), "hours", hours, "1", "HOURS", "how long, for the order by true price", _LOOK),
    Option(
        ("--data",),
        "data",
        data_size,
        "0",
        "SIZE",
        "data sent there (500MB, 20GB), at the host's byte price, for the order by true price",
        _LOOK,
    ),
    Option(
        ("--volume",),
        "volume",
        volume_gigabytes,
        "0",
        "GB",
        "a second disk that outlives a stop, at /workspace (runpod)",
        _LOOK,
    ),
    Option(
        ("--network-volume",),
        "network_volume",
        str,
        "",
        "ID",
        "a network volume of your account, mounted at /workspace (runpod); machines of its data center only",
        _LOOK,
    ),
    Option(
        ("-i", "--inputs"),
        "inputs",
        names,
        "",
        "NAMES",
        "variables to send, besides those the cell uses and the notebook defines",
        (CELL,),
        repeat=True,
        example="x,y",
    ),
    Option(
        ("-o", "--outputs"),
        "outputs",
        names,
        "",
        "NAMES",
        "variables to bring into the notebook",
        (CELL,),
        repeat=True,
        example="model,loss",
    ),
    Option(("--no-auto",), "no_auto", None, "off", "", "send only the variables that -i names", (CELL,)),
    Option(
        ("-f", "--files"),
        "files",
        lambda text: (text,),
        "",
        "GLOB",
        "also send these files, secrets and ignored ones included",
        (CELL,),
        repeat=True,
    ),
    Option(("--no-files",), "no_files", None, "off", "", "send no file that -f does not name", (CELL,)),
    Option(
        ("--out",),
        "out",
        folder,
        "",
        "DIR",
        "a folder whose files come home, besides out, outputs and checkpoints",
        (CELL,),
        repeat=True,
        example="results",
    ),
    Option(
        ("--name",),
        "name",
        str,
        "",
        "NAME",
        "which instance; this notebook's own when not given",
        (*RENT, "files"),
    ),
    Option(("--new",), "new", None, "off", "", "rent another instance even when one is warm", RENT),
    Option(("--down",), "down", None, "off", "", "destroy the instance after the cell", (CELL,)),
    Option(("--shell",), "shell", None, "off", "", "the cell is a shell script", (CELL,)),
    Option(
        ("-n", "--dry-run"),
        "dry_run",
        None,
        "off",
        "",
        "show what would be sent and what it would cost; rent nothing",
        (CELL,),
    ),
    Option(
        ("-y", "--yes"),
        "yes",
        None,
        "off",
        "",
        "do not ask; a first spend then needs a standing budget (%gpu budget)",
        (*RENT, "start"),
    ),
    Option(
        ("-y", "--yes"),
        "yes",
        None,
        "off",
        "",
        "with --all when the ledger cannot be read: also what another computer may have rented",
        ("down",),
    ),
    Option(("-q", "--quiet"), "quiet", None, "off", "", "no phases and no cost line", RENT),
    Option(("-v", "--verbose"), "verbose", None, "off", "", "the table of offers behind a choice, or all of it", _LOOK),
    Option(("--history",), "history", None, "off", "", "how the prices went, as this computer saw them", ("prices",)),
    Option(
        ("--json",),
        "json",
        None,
        "off",
        "",
        "data for programs",
        ("status", "prices", "ls", "spend", "budget", "down", "stop", "adopt", "doctor", "reap"),
        command_only=True,
    ),
    Option(
        ("--by",),
        "by",
        spend_by,
        "instance",
        "WHAT",
        "sum by instance, day, gpu, notebook, cell or platform",
        ("spend",),
        choices=SPEND_BY,
    ),
    Option(
        ("--since",),
        "since",
        since,
        "30d",
        "DAY",
        "from so many days ago (7d), or from a date (2026-11-01)",
        ("spend",),
    ),
    Option(
        ("--check",), "check", None, "off", "", "beside what the platforms have billed, and the difference", ("spend",)
    ),
    Option(("--csv",), "csv", None, "off", "", "comma-separated, for spreadsheets", ("spend",)),
    Option(("--all",), "all", None, "off", "", "every instance, also of other notebooks", ("down",)),
    Option(
        ("--mend",),
        "mend",
        None,
        "off",
        "",
        "set a damaged ledger aside and take its last copy in its place",
        ("doctor",),
    ),
    Option(("--install",), "install", None, "off", "", "let a timer of this computer do it every 5 minutes", ("reap",)),
    Option(("--uninstall",), "uninstall", None, "off", "", "remove that timer", ("reap",)),
    Option(
        ("--cross-check",),
        "cross_check",
        None,
        "off",
        "",
        "ask the vendors' own clients the same and show what differs (needs gpuplug[sdk])",
        ("doctor",),
    ),
    Option(
        ("--help",),
        "help",
        None,
        "off",
        "",
        "show this help",
        (CELL, *VERBS, *COMMANDS),
    ),
)


def table(verb: str, *, command: bool = False) -> list[Option]:
    """Return the options that `verb` (or `CELL`) takes: as a magic, or as a command of the shell."""
    return [option for option in OPTIONS if verb in option.verbs and (command or not option.command_only)]
