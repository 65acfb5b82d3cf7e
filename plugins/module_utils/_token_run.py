# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a user's tokens, and the file that holds one, to what is declared; what a killed run left is revoked first."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile, Unfinished
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import (
    BEGIN,
    CLOCKS,
    MARK,
    Declared,
    NoSuchUser,
    Token,
    TokenApi,
    TokenError,
    described,
    read_secret,
    shown,
)

NEW = "(new)"


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    :param listed: the user's tokens as they are.
    :param flaw: why a new token is to be made; empty where none is.
    :param kept: the token in the file.
    :param leftovers: tokens that interrupted runs left behind, revoked first.
    :param doubtful: ids of those that may be such.
    :param outdated: those revoked last: the one that is replaced, or those that are to be absent.
    :param file_state: mode, owner and group of the file, where there is one.
    :param file_differs: they are to be mended, or the file is to be removed.
    :param unfinished: an interrupted run left a note.
    """

    listed: list[Token]
    flaw: str = ""
    kept: Token | None = None
    leftovers: tuple[Token, ...] = ()
    doubtful: tuple[str, ...] = ()
    outdated: tuple[Token, ...] = ()
    file_state: dict[str, str] | None = None
    file_differs: bool = False
    unfinished: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.flaw or self.revoked or self.file_differs or self.unfinished)

    @property
    def revoked(self) -> tuple[Token, ...]:
        """Return what is revoked, in that order."""
        return self.leftovers + self.outdated


class Run:
    """One run of devpi_token.

    :param api: logged in.
    :param declared: the token that is to be there; None where one is to be absent.
    :param file: None where there is no path, or no directory for it.
    """

    def __init__(self, module: AnsibleModule, api: TokenApi, declared: Declared | None, file: TokenFile | None) -> None:
        self.module = module
        self.api = api
        self.declared = declared
        self.file = file

    def converge(self) -> dict[str, Any]:
        """Do what the task asks, and return the module's result."""
        plan = self.plan()
        made: dict[str, str] = {}
        if plan.changes and not self.module.check_mode:
            with self.file.held(self.module.params["timeout"]) if self.file else contextlib.nullcontext():
                # Another run may have been at work until now.
                plan = self.plan()
                made = self.apply(plan)
        if plan.doubtful:
            self.module.warn(
                f"a run that was interrupted may have left tokens of {self.api.user} behind that nobody holds: "
                f"{', '.join(plan.doubtful)}; revoke those that are not in use with state: absent and id"
            )
        gone = {token.id for token in plan.revoked}
        after = self.listed() if self.api.changed else plan.listed
        result: dict[str, Any] = {
            "changed": plan.changes,
            "revoked": [token.id for token in plan.revoked],
            "tokens": shown(token for token in after if token.id not in gone),
            **made,
        }
        if self.declared is not None and plan.kept is not None and not plan.flaw:
            result["id"] = plan.kept.id
        if self.module._diff:
            result["diff"] = self.diff(plan)
        return result

    def plan(self) -> Plan:
        """Return what is to be done."""
        listed = self.listed()
        if self.file is not None:
            return self.plan_file(self.file, listed)
        if self.declared is not None:
            return Plan(listed, flaw="each run makes one")
        params = self.module.params
        return Plan(listed, outdated=tuple(each for each in listed if params["force"] or each.id == params["id"]))

    def plan_file(self, file: TokenFile, listed: list[Token]) -> Plan:
        """Return what is to be done for a path."""
        secret = file.read()
        self.conceal(secret)
        kept = None
        with contextlib.suppress(TokenError):
            kept = read_secret(secret) if secret else None
        unfinished = file.unfinished()
        for other, held in ((kept, file.target), (unfinished, file.note)):
            # Who may write there must not have the tokens of others revoked.
            if other is not None and other.user != self.api.user:
                raise TokenError(
                    f"path: {held} is about a token of {other.user}, not of {self.api.user}; revoke it with user: "
                    f"{other.user} and state: absent, or name another path"
                )
        there = tuple(token for token in listed if kept is not None and token.id == kept.id)
        marks = set(unfinished.marks) if unfinished else set()
        # A time that somebody declared may be that of others' tokens too.
        sure = {mark for mark in marks if mark.startswith(MARK) or not mark.startswith(BEGIN)}
        others = [token for token in listed if token not in there]
        leftovers = tuple(token for token in others if sure & {token.id, *token.restrictions})
        flaw = "" if self.declared is None else self.flaw(self.declared, secret, kept, bool(there))
        state = file.state()
        return Plan(
            listed,
            flaw,
            kept,
            leftovers,
            tuple(token.id for token in others if token not in leftovers and marks & set(token.restrictions)),
            outdated=there if flaw or self.declared is None else (),
            file_state=state,
            file_differs=state is not None and (self.declared is None or state != file.wanted_state()),
            unfinished=unfinished is not None,
        )

    def flaw(self, declared: Declared, secret: str | None, kept: Token | None, known: bool) -> str:
        """Return why what the file holds is not the token that is declared, or nothing where it is."""
        if secret is None:
            return "there is none"
        if kept is None:
            return "it is cut off"
        if not known:
            return "it is revoked"
        now = int(time.time())
        found = declared.flaw(kept, now)
        # Before its time the server takes no token.
        begun = declared.not_before is None or declared.not_before < now - CLOCKS
        if not found and begun and not self.api.accepts(secret):
            return "the server does not take it"
        return found

    def apply(self, plan: Plan) -> dict[str, str]:
        """Do it, and return what the result says of a new token."""
        made: dict[str, str] = {}
        for token in plan.leftovers:
            self.api.revoke(token.id)
        if plan.flaw and self.declared is not None:
            made = self.make(self.declared, plan.outdated)
        elif plan.file_differs and self.declared is not None and self.file is not None:
            self.file.write(self.file.read() or "")
        for token in plan.outdated:
            self.api.revoke(token.id)
        if self.file is not None:
            if self.declared is None:
                self.file.remove()
            self.file.end()
        return made

    def make(self, declared: Declared, replaced: tuple[Token, ...]) -> dict[str, str]:
        """Make a token, and write it where a path is given."""
        body = declared.restrictions(int(time.time()), marked=self.file is not None)
        if self.file is None:
            secret = self.api.create(body)
            return {"id": read_secret(secret).id, "token": secret}
        marks = (f"{BEGIN}{body['not_before']}", *(token.id for token in replaced))
        self.file.begin(Unfinished(self.api.user, marks))
        try:
            secret = self.api.create(body)
        except RequestFailed as error:
            if error.status < 500:
                self.file.end()
            raise
        self.conceal(secret)
        token = read_secret(secret)
        try:
            self.file.write(secret)
        except OSError:
            self.api.revoke(token.id)
            self.file.end()
            raise
        return {"id": token.id}

    def listed(self) -> list[Token]:
        """Return the user's tokens; those of a user who is gone are absent."""
        try:
            return self.api.listed()
        except NoSuchUser:
            if self.declared is not None:
                raise
            return []

    def conceal(self, secret: str | None) -> None:
        """Have the secret in no output."""
        if secret:
            self.module.no_log_values.add(secret)

    def diff(self, plan: Plan) -> dict[str, Any]:
        """Return the file and the tokens concerned before and after, in check mode in the same words."""
        before: dict[str, Any] = {token.id: described(token.restrictions) for token in plan.revoked}
        after: dict[str, Any] = {}
        if plan.flaw and self.declared is not None:
            after[NEW] = self.declared.shown()
        if self.file is not None and (plan.flaw or plan.file_differs):
            token = plan.kept.id if plan.kept else "none"
            if plan.file_state is not None:
                before[self.file.path] = {**plan.file_state, "token": token}
                if plan.flaw:
                    before[self.file.path]["token"] += f" ({plan.flaw})"
            if self.declared is not None:
                after[self.file.path] = {**self.file.wanted_state(), "token": NEW if plan.flaw else token}
        return {"before": before, "after": after}
