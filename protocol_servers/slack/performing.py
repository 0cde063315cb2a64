"""Doing what replies ask for, step by step, and what is done instead where Slack refuses.

Each message carries a mark of its own in its `metadata`, by which it is found in the room's history when nobody knows
whether it arrived (https://docs.slack.dev/messaging/message-metadata). `client_msg_id`, which chat.postMessage knows
as well, carries the same mark; what Slack does with it is not documented.
"""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...layer import LayerError
from ...message_formats.slack import names_in
from .addressing import Names, is_user_id, message_id
from .asking import Answer, Asker, Failed, TokenRefused
from .composing import MOST_PIECES, Call, Post, React, Share, Step, Update, Upload, Utterance
from .splitting import split, truncate
from .web_api import InDoubt, NotSent, Refused, SlackCallError

_MOST_KNOWN = 5000
_LEAST_PIECE = 250
_SKEW = 60.0  # seconds that a server without marks may be behind us
_EVENT_TYPE = "trunkline_message"
_BAD_BLOCKS = frozenset(("block_mismatch", "msg_blocks_too_long", "blocks_too_long"))


class Files(Protocol):
    """What sends files; see `WebApi.upload`."""

    async def upload(self, url: str, content: bytes | AsyncIterator[bytes], size: int) -> None:
        """Send a file's content."""


class Blobs(Protocol):
    """Where the layer keeps what is too large for a message."""

    async def size(self, key: str) -> int | None:
        """Return the bytes under a key; None: there are none any more."""

    def parts(self, key: str) -> AsyncIterator[bytes]:
        """Return what is under a key, in parts."""


class Performer:
    """Does the steps of one workspace's replies.

    Args:
        asker: Calls the Web API.
        files: Sends files.
        blobs: Has what they hold.
        names: Finds people.
        encode: Makes Slack's text of plain text; the second argument says whether it may mention people and rooms.
        emoji: Returns the name of a reaction, such as "thumbsup".
        secure: Files are sent by TLS alone.
    """

    def __init__(
        self,
        asker: Asker,
        files: Files,
        blobs: Blobs,
        names: Names,
        *,
        encode: Callable[[str, bool], str],
        emoji: Callable[[str], str],
        secure: bool,
    ) -> None:
        self._asker = asker
        self._files = files
        self._blobs = blobs
        self._names = names
        self._encode = encode
        self._emoji = emoji
        self._secure = secure
        self._marking = True
        self._last: OrderedDict[str, str] = OrderedDict()  # room -> the stamp of the last that we said there
        self._direct: OrderedDict[str, str] = OrderedDict()  # person -> the room of the private chat

    async def perform(self, utterance: Utterance, room: str | None) -> Answer | None:
        """Do the steps of a reply; each that was done is taken from it.

        Args:
            utterance: The reply.
            room: The id of the room that it is for.

        Returns:
            Slack's answer to a method that was called.

        Raises:
            Failed, Dropped, Stopped: It was not done, or not all of it.
        """
        answer = None
        if utterance.notify:
            await self._learn_names(utterance)
        while utterance.steps:
            step = utterance.steps[0]
            try:
                if isinstance(step, Call):
                    answer = await self._call(utterance, step)
                else:
                    assert room is not None, "whoever composed this has checked it"
                    await self._do(utterance, step, room)
            except (Refused, Failed) as error:
                self._degrade(utterance, step, error)
            else:
                utterance.steps.popleft()
                utterance.done += 1
        if utterance.missing is not None:
            raise Failed(utterance.missing)
        return answer

    async def private_chat(self, utterance: Utterance, person: str) -> str:
        """Return the id of the private chat with somebody.

        Raises:
            Failed, Dropped: There is none.
        """
        room = self._direct.get(person)
        if room is None:
            try:
                answer = await self._asker.ask(utterance, "conversations.open", {"users": person}, repeat=True)
            except Refused as error:
                raise Failed(error.error) from None
            channel = answer.get("channel")
            room = channel.get("id") if isinstance(channel, dict) else None
            if not isinstance(room, str):
                raise Failed("channel_not_found: Slack opened no private chat")
            _remember(self._direct, person, room)
        return room

    # Steps

    async def _do(self, utterance: Utterance, step: Step, room: str) -> None:
        match step:
            case Post(only=None):
                await self._post(utterance, step, room)
            case Post():
                await self._whisper(utterance, step, room)
            case Update():
                arguments = {"channel": step.room, "ts": step.stamp, **self._words(utterance, step)}
                await self._asker.ask(utterance, "chat.update", arguments, repeat=True)
                utterance.ids.append(message_id(step.room, step.stamp))
            case React():
                await self._react(utterance, step)
            case Share():
                await self._share(utterance, step, room)

    async def _post(self, utterance: Utterance, step: Post, room: str) -> None:
        mark = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        thread = utterance.thread
        arguments = {"channel": room, "thread_ts": thread, **self._words(utterance, step)}
        # As Slack's own default for apps: a link shows no page, a picture shows itself.
        arguments |= {"unfurl_links": False, "unfurl_media": True}
        if self._marking:
            arguments["client_msg_id"] = mark
            arguments["metadata"] = {"event_type": _EVENT_TYPE, "event_payload": {"id": mark}}
        since = self._asker.clock()
        last = self._last.get(room) or f"{since - _SKEW:.6f}"
        find = partial(self._asker.find, room, thread, since, partial(_is_marked, mark, arguments["text"], last))
        answer = await self._asker.ask(utterance, "chat.postMessage", arguments, room=room, find=find)
        self._said(utterance, room, answer.get("ts"))

    async def _whisper(self, utterance: Utterance, step: Post, room: str) -> None:
        user = await self._person(utterance, step.only or "")
        arguments = {"channel": room, "user": user, "thread_ts": utterance.thread, **self._words(utterance, step)}
        answer = await self._asker.ask(utterance, "chat.postEphemeral", arguments, room=room)
        stamp = answer.get("message_ts")
        if isinstance(stamp, str):
            utterance.ids.append(message_id(room, stamp))

    async def _react(self, utterance: Utterance, step: React) -> None:
        arguments = {"channel": step.room, "timestamp": step.stamp, "name": self._emoji(step.reaction)}
        try:
            await self._asker.ask(utterance, "reactions.add", arguments, repeat=True)
        except Refused as error:
            if error.error != "already_reacted":
                raise
        utterance.ids.append(message_id(step.room, step.stamp))

    async def _share(self, utterance: Utterance, step: Share, room: str) -> None:
        thread = utterance.thread
        if step.only is not None:
            room, thread = await self.private_chat(utterance, await self._person(utterance, step.only)), None
        files = [{"id": await self._upload(utterance, file), "title": file.name} for file in step.files]
        arguments = {
            "files": files,
            "channel_id": room,
            "thread_ts": thread,
            "initial_comment": self._text(utterance, step.comment, step.action) or None,
        }
        is_it = partial(_holds_file, {each["id"] for each in files})
        find = partial(self._asker.find, room, thread, self._asker.clock(), is_it)
        answer = await self._asker.ask(utterance, "files.completeUploadExternal", arguments, room=room, find=find)
        stamp = answer.get("ts") or _shared_stamp(answer, room)
        if stamp is None and utterance.message.get("receipt_channel") is not None:
            utterance.calling = True
            try:
                found = await find()
            except (Refused, InDoubt):  # it is there, whatever it is called
                found = None
            utterance.calling = False
            stamp = found.get("ts") if found is not None else None
        self._said(utterance, room, stamp)

    async def _upload(self, utterance: Utterance, file: Upload) -> str:
        """Send a file's content; return the file's id, which nobody sees until it is shared."""
        key = file.key or ""

        async def attempt() -> str:
            try:
                size = len(file.content) if file.content is not None else await self._blobs.size(key)
            except LayerError as error:
                raise NotSent(str(error)) from None
            if size is None:
                raise Failed("file_not_found: the layer keeps no content of it any more")
            arguments = {"filename": file.name, "length": size}
            answer = await self._asker.ask(utterance, "files.getUploadURLExternal", arguments, repeat=True)
            url, id = answer.get("upload_url"), answer.get("file_id")
            if not isinstance(url, str) or not isinstance(id, str) or not self._may_take(url):
                raise Failed("invalid_answer: Slack named no place to upload to")
            content = file.content if file.content is not None else self._blobs.parts(key)
            await self._files.upload(url, content, size)
            return id

        return await self._asker.until_answered(utterance, "files.getUploadURLExternal", attempt)

    async def _call(self, utterance: Utterance, step: Call) -> Answer:
        room = step.arguments.get("channel") or step.arguments.get("channel_id")
        where = room if isinstance(room, str) else None
        return await self._asker.ask(utterance, step.method, step.arguments, room=where)

    # What a step is made of

    async def _learn_names(self, utterance: Utterance) -> None:
        """Look up whom a text may mention, so that `encode` knows them."""
        people, rooms = names_in(utterance.message.get("text") or "")
        for names, find in ((people, self._names.find_user), (rooms, self._names.find_room)):
            for name in names:
                try:
                    await find(name)
                except SlackCallError:
                    return  # it is said without

    def _words(self, utterance: Utterance, step: Post | Update) -> dict[str, Any]:
        """Return the arguments that say a text.

        Names in it mean nobody that `encode` did not mean; `parse` is left out, as "none" takes the links away and
        "full" finds names.
        """
        text = truncate(step.text) if step.blocks else step.text
        words: dict[str, Any] = {"text": self._text(utterance, text, step.action), "link_names": False}
        return words | ({"blocks": step.blocks} if step.blocks else {})

    def _text(self, utterance: Utterance, text: str, action: bool) -> str:
        encoded = self._encode(text, utterance.notify)
        if not action:
            return encoded
        return "\n".join(f"_{line.strip()}_" if line.strip() else "" for line in encoded.split("\n"))

    async def _person(self, utterance: Utterance, who: str) -> str:
        name = who.removeprefix("@")
        if is_user_id(name):
            return name
        found = await self._asker.until_answered(utterance, "users.list", partial(self._names.find_user, name))
        if found is None:
            raise Failed("user_not_found: there is no such person")
        return found

    def _may_take(self, url: str) -> bool:
        scheme = urlsplit(url).scheme
        return scheme == "https" or (scheme == "http" and not self._secure)

    def _said(self, utterance: Utterance, room: str, stamp: object) -> None:
        if isinstance(stamp, str):
            utterance.ids.append(message_id(room, stamp))
            _remember(self._last, room, stamp)
            if utterance.opens_thread:
                utterance.thread, utterance.opens_thread = stamp, False

    def _degrade(self, utterance: Utterance, step: Step, error: Refused | Failed) -> None:
        """Put something that Slack may take in the place of what it did not.

        Raises:
            Failed: There is nothing.
        """
        if isinstance(error, TokenRefused):
            raise error
        word = str(error)
        match step:
            case Share():
                self._without_files(utterance, step, word)
            case Post() | Update() if step.blocks and (word in _BAD_BLOCKS or word.startswith("invalid_block")):
                step.blocks = None
                pieces = split(step.text)
                step.text = pieces[0] if pieces else ""
                self._follow(utterance, step, pieces[1:])
                if not step.text:
                    raise Failed(word)
            case Post() if word == "msg_too_long" and len(step.text) > _LEAST_PIECE:
                pieces = split(step.text, max(len(step.text) // 2, _LEAST_PIECE))
                step.text = pieces[0]
                self._follow(utterance, step, pieces[1:])
            case Post() if self._marking and "metadata" in word:
                self._marking = False
            case React() if word == "invalid_name":
                if utterance.thread is None and utterance.message.get("thread") != "channel":
                    utterance.thread = step.stamp  # below the message that it is about
                utterance.steps[0] = Post(step.instead, action=True)
            case _:
                raise Failed(word) from None

    def _without_files(self, utterance: Utterance, step: Share, why: str) -> None:
        """Say what can be said of files that cannot be sent: the text that was too long, the words, the names."""
        files = step.files
        texts = [step.comment]
        if step.long is not None:
            files = files[1:]
            texts = split(step.long, most=MOST_PIECES)
        if files:
            utterance.missing = why
            texts[-1] = truncate("\n".join(filter(None, (texts[-1], *(f"[{each.name}]" for each in files)))))
        utterance.steps.popleft()
        utterance.steps.extendleft(Post(text, None, step.action, step.only) for text in reversed(texts))

    def _follow(self, utterance: Utterance, step: Post | Update, pieces: list[str]) -> None:
        """Have the rest of a text said behind its first piece."""
        only = step.only if isinstance(step, Post) else None
        for number, piece in enumerate(pieces, 1):
            utterance.steps.insert(number, Post(piece, None, step.action, only))


def _is_marked(mark: str, text: str, last: str, message: Mapping[str, Any]) -> bool:
    """Tell whether a message is the one that we marked.

    One without any mark is from a server that keeps none: there it is known by its text, behind the last that we know
    of.
    """
    metadata = message.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    if isinstance(payload, dict):
        return payload.get("id") == mark
    if message.get("client_msg_id") is not None:
        return bool(message["client_msg_id"] == mark)
    stamp = message.get("ts")
    ours = message.get("bot_id") is not None and message.get("text") == text
    return ours and isinstance(stamp, str) and stamp > last


def _holds_file(ids: set[str], message: Mapping[str, Any]) -> bool:
    files = message.get("files")
    found = {each.get("id") for each in files if isinstance(each, dict)} if isinstance(files, list) else set()
    return not ids.isdisjoint(found)


def _shared_stamp(answer: Answer, room: str) -> str | None:
    """Return the time stamp of the message that shares a file, where Slack tells it already."""
    files = answer.get("files")
    for file in files if isinstance(files, list) else ():
        shares = file.get("shares") if isinstance(file, dict) else None
        for rooms in shares.values() if isinstance(shares, dict) else ():
            places = rooms.get(room) if isinstance(rooms, dict) else None
            if isinstance(places, list) and places and isinstance(places[0], dict):
                stamp = places[0].get("ts")
                return stamp if isinstance(stamp, str) else None
    return None


def _remember(table: OrderedDict[str, str], key: str, value: str) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _MOST_KNOWN:
        table.popitem(last=False)
