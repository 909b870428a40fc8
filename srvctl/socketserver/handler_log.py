"""The logger that a handler has as ``self.log``. Imports `logging`, so it is imported when a handler logs."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from srvctl.runtime.current import Marked

_LOGGER = logging.getLogger("srvctl.handler")


class ConversationLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records have ``peer`` and ``connection_id``, beside what a call has in its ``extra``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def log_of(conversation: Marked | None) -> logging.Logger | ConversationLog:
    """Return the logger of a handler: of its conversation under srvctl, and an ordinary one elsewhere."""
    if conversation is None:
        return _LOGGER
    return ConversationLog(_LOGGER, {"peer": conversation.name, "connection_id": conversation.id})
