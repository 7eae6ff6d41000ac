"""Messages to Slack."""

from __future__ import annotations

__all__ = ("SlackConfig", "SlackNotification")

import json
from typing import Any, ClassVar

import attrs

from sentrio import _options as options
from sentrio.checkpoint.actions._sending import deliver, is_placeholder, url_text
from sentrio.checkpoint.actions.base import AsyncBaseAction
from sentrio.checkpoint.actions.config import NotificationConfig
from sentrio.checkpoint.connections import prepare
from sentrio.checkpoint.formats.slack import render
from sentrio.checkpoint.result import ActionResult, CheckpointResult


@attrs.define(kw_only=True)
class SlackConfig(NotificationConfig):
    """Options of :class:`SlackNotification`."""

    option_owner: ClassVar[str] = "SlackNotification"

    webhook_url: str = attrs.field(validator=url_text, repr=False)
    channel: str | None = attrs.field(default=None, validator=options.optional(options.text()))


class SlackNotification(AsyncBaseAction[SlackConfig]):
    """Post a message to Slack: the verdict, the checks that did not pass, and a few failing rows of each.

    It posts to an incoming webhook, also to one of Mattermost, Rocket.Chat and others that take Slack's messages. The
    rows are those of the result's samples: what ``sample_failures`` and ``redact_columns`` hide is not posted.

    :param webhook_url: a secret: write ``"${SLACK_WEBHOOK}"``. It is shown nowhere
    :param channel: for webhooks that may choose one; ``None``: the webhook's own
    :param config: the options of :class:`sentrio.ActionConfig`; ``notify_on`` is ``failure_or_error`` by default
    """

    action_type: ClassVar[str] = "slack"

    def __init__(self, config: SlackConfig | None = None, **given: Any) -> None:
        super().__init__(config, **given)
        prepare()

    def validate(self) -> list[str]:
        """Return what is wrong with the configuration as far as can be told without acting."""
        problems = super().validate()
        if is_placeholder(self._given.webhook_url):
            problems.append(f"{self.name}: webhook_url is still the placeholder '...'")
        return problems

    async def _execute_async(self, checkpoint_result: CheckpointResult) -> ActionResult:
        config = self.config
        message = render(checkpoint_result)
        if config.channel is not None:
            message["channel"] = config.channel
        body = json.dumps(message, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        response = await deliver("webhook_url", "POST", config.webhook_url, body, headers)
        return self.success(f"posted to {response.url.host}", status_code=response.status_code)
