# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a user's tokens, and the file that holds one, to what is declared; what a killed run left is revoked first."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import (
    CLOCK_TOLERANCE,
    Declared,
    NoSuchUser,
    Token,
    TokenApi,
    TokenError,
    describe,
    describe_tokens,
    new_mark,
    read_draft,
    read_secret,
)

NEW = "(new)"


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    :param listed: the user's tokens as they are.
    :param flaw: why a new token is to be made; empty where none is.
    :param kept: the token in the file.
    :param mark: that of the token in the file, for the one that replaces it; empty where it has none.
    :param leftovers: tokens that killed runs left, revoked first.
    :param outdated: those revoked last: the one that is replaced, or those that are to be absent.
    :param file_state: mode, owner and group of the file, where there is one.
    :param file_differs: they are to be mended, or the file is to be removed.
    :param leftover_files: killed runs left something beside the file.
    """

    listed: list[Token]
    flaw: str = ""
    kept: Token | None = None
    mark: str = ""
    leftovers: tuple[Token, ...] = ()
    outdated: tuple[Token, ...] = ()
    file_state: dict[str, str] | None = None
    file_differs: bool = False
    leftover_files: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.flaw or self.revoked or self.file_differs or self.leftover_files)

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
            with self.file.locked(self.module.params["timeout"]) if self.file else contextlib.nullcontext():
                # Another run may have been at work until now. The lock that a killed one left is this run's own now.
                plan = replace(self.plan(), leftover_files=plan.leftover_files)
                made = self.apply(plan)
        revoked = {token.id for token in plan.revoked}
        tokens = self.list_tokens() if self.api.changed else plan.listed
        result: dict[str, Any] = {
            "changed": plan.changes,
            "revoked": [token.id for token in plan.revoked],
            "tokens": describe_tokens(token for token in tokens if token.id not in revoked),
            **made,
        }
        if self.declared is not None and plan.kept is not None and not plan.flaw:
            result["id"] = plan.kept.id
        if self.module._diff:
            result["diff"] = self.diff(plan)
        return result

    def plan(self) -> Plan:
        """Return what is to be done."""
        listed = self.list_tokens()
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
        texts = file.read_leftovers()
        begun = [token for token in map(read_draft, texts) if token is not None]
        for token in begun if kept is None else [kept, *begun]:
            # Who may write there must not have the tokens of others revoked.
            if token.user != self.api.user:
                raise TokenError(
                    f"path: {file.target}{'' if token is kept else ' (a draft of it)'} is about a token of "
                    f"{token.user}, not of {self.api.user}; revoke it with user: {token.user} and state: absent, or "
                    "name another path"
                )
        # Where the server does not know the token, another file may have one with its mark: this one is a copy.
        known = [token for token in listed if kept is not None and token.id == kept.id]
        marks = {mark for token in (*known, *begun) for mark in token.marks}
        flaw = "" if self.declared is None else self.flaw(self.declared, secret, kept, bool(known))
        state = file.state()
        return Plan(
            listed,
            flaw,
            kept,
            mark=next((mark for token in known for mark in token.marks), ""),
            leftovers=tuple(token for token in listed if token not in known and token.marks & marks),
            outdated=tuple(known) if flaw or self.declared is None else (),
            file_state=state,
            file_differs=state is not None and (self.declared is None or state != file.wanted_state()),
            leftover_files=bool(texts),
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
        begun = declared.not_before is None or declared.not_before < now - CLOCK_TOLERANCE
        if not found and begun and not self.api.accepts(secret):
            return "the server does not take it"
        return found

    def apply(self, plan: Plan) -> dict[str, str]:
        """Do it, and return what the result says of a new token."""
        made: dict[str, str] = {}
        for token in plan.leftovers:
            self.api.revoke(token.id)
        if self.file is not None:
            self.file.remove_leftovers()
        if plan.flaw and self.declared is not None:
            made = self.make(self.declared, plan.mark)
        elif plan.file_differs and self.declared is not None and self.file is not None:
            with self.file.draft("") as draft:
                self.file.write(draft, self.file.read() or "")
        for token in plan.outdated:
            self.api.revoke(token.id)
        if self.file is not None and self.declared is None:
            self.file.remove()
        return made

    def make(self, declared: Declared, mark: str) -> dict[str, str]:
        """Make a token, and write it where a path is given."""
        now = int(time.time())
        if self.file is None:
            secret = self.api.create(declared.restrictions(now))
            return {"id": read_secret(secret).id, "token": secret}
        mark = mark or new_mark()
        with self.file.draft(f"{self.api.user} {mark}") as draft:
            try:
                secret = self.api.create(declared.restrictions(now, mark))
            except RequestFailed as error:
                # After another error the server may have made it.
                if error.status < 500:
                    self.file.remove_draft(draft)
                raise
            self.conceal(secret)
            token = read_secret(secret)
            try:
                self.file.write(draft, secret)
            except OSError:
                self.api.revoke(token.id)
                self.file.remove_draft(draft)
                raise
        return {"id": token.id}

    def list_tokens(self) -> list[Token]:
        """Return the user's tokens; a user who does not exist has none where one is to be absent."""
        try:
            return self.api.fetch()
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
        before: dict[str, Any] = {token.id: describe(token.restrictions) for token in plan.revoked}
        after: dict[str, Any] = {}
        if plan.flaw and self.declared is not None:
            after[NEW] = self.declared.describe()
        if self.file is not None and (plan.flaw or plan.file_differs):
            token = plan.kept.id if plan.kept else "none"
            if plan.file_state is not None:
                before[self.file.path] = {**plan.file_state, "token": token}
                if plan.flaw:
                    before[self.file.path]["token"] += f" ({plan.flaw})"
            if self.declared is not None:
                after[self.file.path] = {**self.file.wanted_state(), "token": NEW if plan.flaw else token}
        return {"before": before, "after": after}
