"""The commands. Each module holds those of one subject; `COMMANDS` is the one list of them."""

from __future__ import annotations

from typing import Any

import click

from metronome import __version__
from metronome.cli.archive import archive, export, restore
from metronome.cli.ask import load, tick, tock
from metronome.cli.counter import counter
from metronome.cli.demo import demo
from metronome.cli.demo_video import video as demo_video
from metronome.cli.keys import keys
from metronome.cli.kibana import kibana
from metronome.cli.parts import parts
from metronome.cli.person import erase, person
from metronome.cli.quarantine import quarantine
from metronome.cli.questions import ask
from metronome.cli.report import report
from metronome.cli.setup import doctor, mappings, settings
from metronome.cli.start import drain, listen, serve, streams, up
from metronome.cli.sushi import report as counter_report
from metronome.errors import MetronomeError

#: In the order in which a user meets them.
COMMANDS: tuple[click.Command, ...] = (
    up,
    serve,
    streams,
    drain,
    listen,
    tick,
    tock,
    ask,
    mappings,
    settings,
    keys,
    quarantine,
    load,
    demo,
    parts,
    archive,
    restore,
    export,
    person,
    erase,
    kibana,
    counter,
    report,
    doctor,
)


demo.add_command(demo_video)


class Commands(click.Group):
    """The group: lists commands in the order of `COMMANDS`, and prints our errors as one line without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetronomeError as error:
            click.echo(f"metronome: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="metronome")
def main() -> None:
    """Usage events in, numbers out, over the Elasticsearch you already run.

    Start everything with `metronome up`. Settings are environment variables: `metronome settings` lists them.
    """
    # Each command reads the settings itself, so that --help and `settings` work where one of them is wrong.


counter.add_command(counter_report)
for command in COMMANDS:
    main.add_command(command)
