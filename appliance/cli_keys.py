"""`appliance keys`: who may talk to the servers."""

from __future__ import annotations

from typing import Annotated

import typer

from appliance import output
from appliance.cli_words import Json, Lang, Yes
from appliance.engines import keys
from appliance.locale import _

app = typer.Typer(no_args_is_help=True, help=_("Keys for the servers of this workspace."))

KeyName = Annotated[str, typer.Argument(metavar="NAME", help=_("Whose key it is."))]


@app.command("list", help=_("The names of the keys."))
def keys_list(json: Json = False, lang: Lang = None) -> None:

    found = keys.everyone()
    rows = [(key["name"], key["made"], key["file"]) for key in found]
    output.answer({"keys": found}, lambda: output.table([_("Name"), _("Made"), _("File")], rows))


@app.command("add", help=_("A new key; it is shown once."))
def keys_add(name: KeyName, json: Json = False, lang: Lang = None) -> None:

    made = keys.add(name)
    output.answer({"name": name, "key": made}, lambda: output.paste(made))
    output.note(_("Running servers take it already. It is not shown again."))


@app.command("revoke", help=_("From now on this key opens nothing."))
def keys_revoke(name: KeyName, yes: Yes = False, json: Json = False, lang: Lang = None) -> None:

    keys.revoke(name)
    output.answer(
        {"name": name, "revoked": True}, lambda: output.good(_("{name} opens nothing any more.").format(name=name))
    )
