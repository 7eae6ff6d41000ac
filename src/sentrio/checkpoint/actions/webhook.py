"""Results, or something made of them, to any HTTP service."""

from __future__ import annotations

__all__ = ("SIGNATURE_HEADER", "TIMESTAMP_HEADER", "WebhookAction", "WebhookConfig", "signature")

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from sentrio import _options as options
from sentrio.checkpoint.actions._sending import deliver, header_mapping, is_placeholder, secret_text, url_text
from sentrio.checkpoint.actions._template import check_template, fill
from sentrio.checkpoint.actions.base import AsyncBaseAction
from sentrio.checkpoint.actions.config import FILLED_LATER, ActionConfig
from sentrio.checkpoint.connections import prepare
from sentrio.checkpoint.result import ActionResult, CheckpointResult

SIGNATURE_HEADER = "X-Sentrio-Signature"
TIMESTAMP_HEADER = "X-Sentrio-Timestamp"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


@attrs.define(kw_only=True)
class WebhookConfig(ActionConfig):
    """Options of :class:`WebhookAction`."""

    option_owner: ClassVar[str] = "WebhookAction"

    url: str = attrs.field(validator=url_text, repr=False)
    method: str = attrs.field(default="POST", converter=_upper, validator=options.one_of(("POST", "PUT", "PATCH")))
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=header_mapping, repr=False)
    template: Any = attrs.field(default=None, validator=check_template, metadata=FILLED_LATER)
    hmac_secret: str | None = attrs.field(default=None, validator=secret_text, repr=False)


class WebhookAction(AsyncBaseAction[WebhookConfig]):
    """Send the result as JSON, or what a template makes of it.

    Any answer but 2xx is an ``error``. Redirects are not followed.

    :param url: where to; it may hold a secret, so only its host is ever shown
    :param method: ``POST``, ``PUT`` or ``PATCH``
    :param headers: besides ``Content-Type``, which is ``application/json`` unless given; they are shown nowhere
    :param template: the body: a text, or a mapping or list that becomes JSON. In its texts ``{status}`` stands for
        the result's field, ``{report.row_count}`` for a field of its field, ``{summary}`` for one readable line, and
        ``{{`` and ``}}`` for braces; a text that is nothing but one such name becomes the value itself, be it a
        number, a list or a mapping. ``None``: the whole result
    :param hmac_secret: signs each body: ``X-Sentrio-Signature`` is ``sha256=`` and the hexadecimal HMAC-SHA256 of
        ``X-Sentrio-Timestamp`` (seconds since 1970), a full stop, and the body. ``None``: no signature
    :param config: the options of :class:`sentrio.ActionConfig`
    """

    action_type: ClassVar[str] = "webhook"

    def __init__(self, config: WebhookConfig | None = None, **given: Any) -> None:
        super().__init__(config, **given)
        prepare()

    def validate(self) -> list[str]:
        """Return what is wrong with the configuration as far as can be told without acting."""
        problems = super().validate()
        if is_placeholder(self._given.url):
            problems.append(f"{self.name}: url is still the placeholder '...'")
        return problems

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        config = self.config
        if config.template is None:
            made: Any = checkpoint_result.to_dict()
        else:
            made = fill(config.template, checkpoint_result)
        is_text = config.template is not None and isinstance(made, str)
        body = made.encode() if is_text else json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
        headers = {"Content-Type": "text/plain; charset=utf-8" if is_text else "application/json"}
        given = {name.title() for name in config.headers}
        headers = {name: value for name, value in headers.items() if name not in given} | dict(config.headers)
        if config.hmac_secret is not None:
            timestamp = str(int(dt.datetime.now(dt.UTC).timestamp()))
            headers |= {
                TIMESTAMP_HEADER: timestamp,
                SIGNATURE_HEADER: signature(config.hmac_secret, timestamp, body),
            }
        response = await deliver("url", config.method, config.url, body, headers)
        return self.success(f"sent to {response.url.host}", status_code=response.status_code)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a body, as receivers compute it to compare."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
