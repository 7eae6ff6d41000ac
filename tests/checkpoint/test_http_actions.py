"""Slack and webhooks, against a server on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import pickle
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import polars as pl
import pytest
from tests.async_core._moments import until
from tests.async_core._server import Server, answer, chunked, hang_up, serving_elsewhere, stall

from sentrio import Checkpoint, CheckpointResult, SlackNotification, WebhookAction, check_async, load_config
from sentrio.checkpoint.actions import make_action
from sentrio.checkpoint.actions.slack import SlackConfig
from sentrio.checkpoint.actions.webhook import WebhookConfig, signature
from sentrio.checkpoint.connections import Connections, shared_connections
from sentrio.checkpoint.formats.slack import render
from sentrio.checkpoint.pool import CheckpointPool
from sentrio.checkpoint.runner import AsyncCheckpointRunner
from sentrio.checkpoint.strategies import AsyncExecutionContext, SequentialStrategy
from sentrio.errors import ConfigurationError, DeliveryError, OptionValueError, UnknownOptionError
from sentrio.testing import Backend, cancel_everywhere

SECRET = "T0K3N-secret"

FRAME = pl.DataFrame({"id": ["A1", "A<2>&", "A3"], "amount": [1.0, -2.0, None]})
VALIDATORS: list[Any] = [
    "not_null",
    {"range": {"column": "amount", "min": 0}},
    {"mean": {"column": "amount", "min": 10, "severity": "low"}},
    {"range": {"column": "nope", "min": 0}},
]


@pytest.fixture
def server() -> Generator[Server]:
    with serving_elsewhere() as server:
        yield server


@pytest.fixture
async def result() -> CheckpointResult:
    return await check_async(FRAME, VALIDATORS, key_columns=["id"], name="orders")


async def test_slack_says_what_failed(server: Server, result: CheckpointResult) -> None:
    url = server.on(f"/services/{SECRET}", answer(200, b"ok"))
    outcome = await SlackNotification(webhook_url=url, channel="#data").execute_async(result)
    assert (outcome.status, outcome.message, outcome.details) == (
        "success",
        "posted to 127.0.0.1",
        {"status_code": 200},
    )
    (request,) = server.requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    message = json.loads(request.body)
    assert message["channel"] == "#data"
    assert message["text"].startswith("orders: ERROR   1 passed, 2 failed")
    texts = [block["text"]["text"] for block in message["blocks"] if block["type"] == "section"]
    assert texts[0].startswith(":grey_question: *orders* ERROR\n1 passed, 2 failed, 1 failed below fail_on=high")
    assert texts[1:] == [
        ":x: *not_null* `amount` (high): 1 of 3 rows failed (expected no nulls)\n`row 2  A3  amount = null`",
        ":x: *range* `amount` (high): 1 of 2 rows failed (expected at least 0)\n`row 1  A&lt;2&gt;&amp;  amount = -2.0`",
        ":grey_question: *range* `nope`: no column 'nope'; known are: amount, id (expected at least 0)",
        ":warning: *mean* `amount` (low): mean is -0.5, expected at least 10",
    ]
    foot = message["blocks"][-1]["elements"][0]["text"]
    assert foot.startswith("orders   DataFrame[3x2]   3 rows   ")
    assert f"run {result.run_id}" in foot


async def test_notifications_are_quiet_while_all_is_well(server: Server, result: CheckpointResult) -> None:
    url = server.on("/", answer(200))
    good = await check_async(FRAME, [{"row_count": {"min": 1}}])
    warned = await check_async(FRAME, [{"row_count": {"min": 9, "severity": "low"}}])
    slack = SlackNotification(webhook_url=url)
    assert [(await slack.execute_async(each)).status for each in (good, warned)] == ["skipped", "skipped"]
    assert (await SlackNotification(webhook_url=url, notify_on="always").execute_async(good)).status == "success"
    assert server.count() == 1


async def test_a_message_keeps_slacks_limits_whatever_the_data_hold() -> None:
    wild = "<!channel> & `*_~" + "\u202e\x07" + "x" * 400
    frame = pl.DataFrame({f"{wild}{number}": [f"{wild}{row}" for row in range(9)] for number in range(15)})
    validators = [{"regex": {"column": name, "pattern": "^y", "severity": "low"}} for name in frame.columns]
    validators += [{"regex": {"column": frame.columns[0], "pattern": "^y", "name": "the-important-one"}}]
    result = await check_async(frame, validators, key_columns=frame.columns[:5], sample_failures=9, name=wild)
    message = render(result)
    assert len(message["blocks"]) == 12
    texts = [block["text"] if "text" in block else block["elements"][0] for block in message["blocks"]]
    for text in [*texts, {"text": message["text"], "verbatim": True}]:
        assert text["verbatim"] is True
        assert len(text["text"]) <= 3000
        bare = text["text"].replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
        assert not set(bare) & set("<>&\u202e\x07")
        assert all(line.count("`") % 2 == 0 for line in text["text"].split("\n") if line.startswith("`"))
    assert texts[1]["text"].startswith(":x: ")  # what fails the run comes before what only warns
    assert "and 6 more checks did not pass" in texts[-1]["text"]
    assert len(texts[1]["text"].split("\n")) == 1 + 3
    json.dumps(message)


async def test_what_is_hidden_in_the_result_is_not_posted() -> None:
    hidden = await check_async(FRAME, VALIDATORS, key_columns=["id"], redact_columns=["id", "amount"])
    assert "A3" not in json.dumps(render(hidden))
    assert "-2.0" not in json.dumps(render(hidden))
    none = await check_async(FRAME, VALIDATORS, key_columns=["id"], sample_failures=0)
    assert "row 2" not in json.dumps(render(none))


FAULTS = {
    "404": (answer(404, b"no_service"), "it answered 404 Whatever (no_service)"),
    "500": (answer(500, b"stack trace with " + SECRET.encode()), "it answered 500"),
    "redirect": (answer(302, b"", Location=f"/{SECRET}"), "it answered 302 Found"),
    "hang_up": (hang_up(), "NetworkError|ReadError|RemoteProtocolError"),
    "half": (chunked(b"half", finish=False), "RemoteProtocolError"),
    "stall": (stall(), "timed out after 0.3 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["slack", "webhook"])
async def test_the_url_is_shown_nowhere(
    kind: str, fault: str, server: Server, result: CheckpointResult, caplog: pytest.LogCaptureFixture
) -> None:
    behaviour, expected = FAULTS[fault]
    url = server.on(f"/{SECRET}", behaviour)
    url = url.replace("//", f"//user:{SECRET}@") + f"?token={SECRET}#{SECRET}"
    action: SlackNotification | WebhookAction
    if kind == "slack":
        action = SlackNotification(webhook_url=url, timeout_seconds=0.3 if fault == "stall" else None)
    else:
        action = WebhookAction(
            url=url, headers={"X-Key": SECRET}, hmac_secret=SECRET, timeout_seconds=0.3 if fault == "stall" else None
        )
    with caplog.at_level(logging.DEBUG):
        outcome = await action.execute_async(result)
        async with shared_connections():
            await action.execute_async(result)
    assert outcome.status == "error"
    assert any(part in str(outcome.error) for part in expected.split("|"))
    if fault != "stall":
        assert isinstance(outcome.exception, DeliveryError)
        assert str(outcome.error).startswith("127.0.0.1: ")
        assert outcome.exception.status == (int(fault) if fault.isdigit() else 302 if fault == "redirect" else None)
    seen = [caplog.text, repr(action), repr(action._given), str(action.validate())]
    seen += [str(outcome.to_dict()), repr(outcome), repr(outcome.exception), str(pickle.dumps(outcome))]
    if outcome.exception is not None:
        seen.append(str(pickle.dumps(outcome.exception)))
    if outcome.exception is not None and getattr(outcome.exception, "status", None):
        assert f"http://127.0.0.1:{server.port}/[...]" in caplog.text  # httpx's own line
    for text in seen:
        assert SECRET not in text


async def test_a_reference_to_the_environment_is_filled_when_it_acts(
    server: Server, result: CheckpointResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "sentrio.yaml"
    path.write_text("""
checkpoints:
  orders:
    data_source: orders.csv
    validators: [not_null]
    actions:
      - slack: {webhook_url: "${HOOK}"}
      - webhook: {url: "${HOOK}", headers: {Authorization: "Bearer ${TOKEN}"}, template: {key: "${TOKEN}"}}
""")
    checkpoint = load_config(path).checkpoints["orders"]
    assert checkpoint.validate() == [
        f"{name}: option {option!r}: environment variable '{variable}' is not set; for the text ${{{variable}}} write $${{{variable}}}"
        for name, option, variable in [
            ("slack", "webhook_url", "HOOK"),
            ("webhook", "url", "HOOK"),
            ("webhook", "headers", "TOKEN"),
            ("webhook", "template", "TOKEN"),
        ]
    ]
    outcome = await checkpoint.actions[0].execute_async(result)
    assert str(outcome.error).startswith("option 'webhook_url': environment variable 'HOOK' is not set")
    monkeypatch.setenv("HOOK", server.on(f"/{SECRET}", answer(200)))
    monkeypatch.setenv("TOKEN", f"{{status}}{SECRET}")
    assert checkpoint.validate() == []
    outcomes = [await action.execute_async(result) for action in checkpoint.actions]
    assert [outcome.status for outcome in outcomes] == ["success", "success"]
    assert server.requests[1].headers["authorization"] == f"Bearer {{status}}{SECRET}"
    assert json.loads(server.requests[1].body) == {"key": f"{{status}}{SECRET}"}
    assert SECRET.encode() not in pickle.dumps(checkpoint)
    again = pickle.loads(pickle.dumps(checkpoint))  # noqa: S301  # our own bytes
    assert (await again.actions[0].execute_async(result)).status == "success"
    monkeypatch.setenv("HOOK", f"no URL {SECRET}")
    outcome = await again.actions[0].execute_async(result)
    assert outcome.error == (
        "SlackNotification: webhook_url must be a URL with http:// or https:// and a host; "
        "the value is not shown, as it may be secret"
    )


BAD_OPTIONS: list[tuple[Any, dict[str, Any], str]] = [
    (SlackNotification, {}, "'webhook_url' is missing"),
    (SlackNotification, {"webhook_url": f"{SECRET}.example.com/x"}, "webhook_url must be a URL with http://"),
    (SlackNotification, {"webhook_url": f"ftp://example.com/{SECRET}"}, "webhook_url must be a URL with http://"),
    (SlackNotification, {"webhook_url": f"https:///{SECRET}"}, "webhook_url must be a URL with http://"),
    (SlackNotification, {"webhook_url": f"https://example.com:99999/{SECRET}"}, "webhook_url must be a URL"),
    (SlackNotification, {"webhook_url": f"https://example.com:0/{SECRET}"}, "webhook_url must be a URL"),
    (SlackNotification, {"webhook_url": f"https://example.com/{SECRET}\n"}, "webhook_url must be a URL with http://"),
    (SlackNotification, {"webhook_url": [SECRET]}, "webhook_url must be text"),
    (SlackNotification, {"webhook_url": f"https://example.com/{SECRET}${{"}, "option 'webhook_url': `${` begins"),
    (SlackNotification, {"webhook_url": "https://example.com", "channel": ""}, "channel must be text"),
    (SlackNotification, {"webhook_url": "https://example.com", "notify_on": "failed"}, "notify_on must be one of"),
    (WebhookAction, {"url": "https://example.com", "method": "GET"}, "method must be one of POST, PUT, PATCH"),
    (WebhookAction, {"url": "https://example.com", "headers": {"X-Key": f"{SECRET}\n"}}, "headers must be a mapping"),
    (WebhookAction, {"url": "https://example.com", "headers": {"X Key": SECRET}}, "'X Key' is no name of a header"),
    (WebhookAction, {"url": "https://example.com", "headers": [SECRET]}, "headers must be a mapping"),
    (WebhookAction, {"url": "https://example.com", "hmac_secret": ""}, "hmac_secret must be text that is not empty"),
    (
        WebhookAction,
        {"url": "https://example.com", "template": "{stat}"},
        "names 'stat', which no result has; did you mean",
    ),
    (
        WebhookAction,
        {"url": "https://example.com", "template": ["{report.rows}"]},
        "names 'rows', which no result has",
    ),
    (WebhookAction, {"url": "https://example.com", "template": {"a": "{"}}, "has a lone brace in '{'"),
    (WebhookAction, {"url": "https://example.com", "template": {"a": object}}, "must hold nothing that JSON can not"),
    (WebhookAction, {"url": "https://example.com", "template": 3}, "must be a text, a mapping or a list, got 3"),
]


@pytest.mark.parametrize(("cls", "options", "problem"), BAD_OPTIONS)
def test_bad_values_are_refused_when_built_and_not_shown(cls: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionValueError) as caught:
        cls(**options)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{cls.__name__}: ")
    assert SECRET not in str(caught.value)


def test_unknown_options_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownOptionError, match="SlackNotification: unknown option 'webhok_url'; did you mean"):
        SlackNotification(webhok_url=SECRET)
    with pytest.raises(UnknownOptionError, match="unknown option 'header'; did you mean 'headers'"):
        make_action({"webhook": {"url": "https://example.com", "header": {}}})
    for config in (
        SlackConfig(webhook_url=f"https://x/{SECRET}"),
        WebhookConfig(url="https://x", hmac_secret=SECRET),
    ):
        assert SECRET not in repr(config)


def test_a_url_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    url = f"https://example.com/{SECRET}"
    entries: list[Any] = [{"slack": url}, {"slack": {"webhook_url": url}, "channel": "x"}, {"slack": [url]}]
    for entry in entries:
        with pytest.raises((OptionValueError, TypeError)) as caught:
            make_action(entry)
        assert "slack" in str(caught.value)
        assert SECRET not in str(caught.value)
    for text in (
        f"slack: {url}",
        f"slack: [{url}]",
        f"{{slack: {{webhook_url: ['{url}']}}}}",
        f"slack: {{url: '{url}'}}",
    ):
        path = tmp_path / "sentrio.yaml"
        path.write_text(
            f"checkpoints:\n  c:\n    data_source: d.csv\n    validators: [unique]\n    actions:\n      - {text}\n"
        )
        with pytest.raises(ConfigurationError) as caught:
            load_config(path)
        assert "sentrio.yaml:6:" in str(caught.value)
        assert SECRET not in str(caught.value)


async def test_a_placeholder_of_the_documentation_is_not_sent_to(result: CheckpointResult) -> None:
    for action, option in ((SlackNotification(webhook_url="..."), "webhook_url"), (WebhookAction(url="..."), "url")):
        assert action.validate() == [f"{action.name}: {option} is still the placeholder '...'"]
        outcome = await action.execute_async(result)
        assert (outcome.status, str(outcome.error)) == (
            "error",
            f"action: {option} is still the placeholder '...'; put in the real URL",
        )


async def test_a_webhook_gets_the_whole_result(server: Server, result: CheckpointResult) -> None:
    url = server.on("/hook", answer(503), answer(204))
    action = WebhookAction(url=url, method="put", headers={"X-Key": "k"}, retry_count=2, retry_delay_seconds=0)
    outcome = await action.execute_async(result)
    assert (outcome.status, outcome.attempts, outcome.details) == ("success", 2, {"status_code": 204})
    request = server.requests[1]
    assert (request.method, request.headers["x-key"]) == ("PUT", "k")
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == json.loads(json.dumps(result.to_dict()))
    assert "x-sentrio-signature" not in request.headers


async def test_a_webhook_is_signed(server: Server, result: CheckpointResult) -> None:
    url = server.on("/hook", answer(200))
    await WebhookAction(url=url, hmac_secret="s3cret").execute_async(result)
    (request,) = server.requests
    timestamp = request.headers["x-sentrio-timestamp"]
    expected = hmac.new(b"s3cret", timestamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert (
        request.headers["x-sentrio-signature"] == f"sha256={expected}" == signature("s3cret", timestamp, request.body)
    )
    assert abs(int(timestamp) - result.run_time.timestamp()) < 600


@pytest.mark.parametrize(
    ("template", "kind", "expected"),
    [
        ("{checkpoint} is {status}: {{ok}} $5 {error}", "text/plain; charset=utf-8", "orders is error: {ok} $5 "),
        ("ümlaut", "text/plain; charset=utf-8", "ümlaut"),
        ({"text": "{checkpoint_name} {report.row_count}", "{status}": 1.5}, None, {"text": "orders 3", "error": 1.5}),
        (["{report.row_count}", "{metadata}", "{error}", None, True], None, [3, {"team": 'a"b'}, None, None, True]),
        ({"say": 'the "{metadata.team}"'}, None, {"say": 'the "a"b"'}),
        ("{metadata}", None, {"team": 'a"b'}),
        ({"price": "$${status}"}, None, {"price": "${status}"}),
    ],
)
async def test_templates(template: Any, kind: str | None, expected: Any, server: Server) -> None:
    url = server.on("/hook", answer(200))
    result = await check_async(FRAME, VALIDATORS, name="orders", metadata={"team": 'a"b'})
    assert (await WebhookAction(url=url, template=template).execute_async(result)).status == "success"
    (request,) = server.requests
    assert request.headers["content-type"] == (kind or "application/json")
    assert (request.body.decode() if kind else json.loads(request.body)) == expected


async def test_a_template_that_names_what_this_result_has_not_is_an_error(
    server: Server, result: CheckpointResult
) -> None:
    url = server.on("/hook", answer(200))
    outcome = await WebhookAction(url=url, template="{metadata.team}").execute_async(result)
    assert outcome.error == "WebhookAction: template names {metadata.team}, and the result has none"
    outcome = await WebhookAction(url=url, template="${NOT_SET}").execute_async(result)
    assert "environment variable 'NOT_SET' is not set" in str(outcome.error)
    assert server.count() == 0
    given = WebhookAction(url=url, template="{summary} {date}", headers={"content-type": "text/markdown"})
    await given.execute_async(result)
    assert server.requests[0].headers["content-type"] == "text/markdown"
    assert server.requests[0].body.decode() == f"{result.summary()} {result.run_time:%Y-%m-%d}"


async def test_connections_are_kept_between_runs_and_closed_with_their_owner(server: Server) -> None:
    url = server.on("/hook", answer(200))
    actions = [WebhookAction(url=url), SlackNotification(webhook_url=url)]
    checkpoint = Checkpoint("c", FRAME, ["not_null"], actions, execution_strategy="sequential")
    async with shared_connections() as connections:
        for _ in range(5):
            assert [outcome.status for outcome in (await checkpoint.run_async()).action_results] == ["success"] * 2
        assert server.connections == 1
        async with shared_connections() as inner:
            assert inner is connections
    assert not connections.usable
    await until(lambda: server.open == 0)
    assert server.count() == 10
    async with connections, anyio.create_task_group() as tg:
        with connections.in_use():
            for _ in range(3):
                tg.start_soon(checkpoint.run_async)
    assert server.connections <= 4


@pytest.mark.parametrize("owner", ["pool", "started pool", "runner", "started runner", "context"])
async def test_owners_share_connections_between_runs_and_close_them(
    owner: str, server: Server, result: CheckpointResult
) -> None:
    url = server.on("/hook", answer(200))
    checkpoint = Checkpoint("c", FRAME, ["not_null"], [WebhookAction(url=url), SlackNotification(webhook_url=url)])
    checkpoint.execution_strategy = SequentialStrategy()
    for _ in range(2):  # each owner may be used again
        before = server.connections
        match owner:
            case "pool":
                async with CheckpointPool(1) as pool:
                    await pool.submit_many([checkpoint] * 3)
            case "started pool":
                pool = CheckpointPool(1)
                await pool.start()
                await pool.submit_many([checkpoint] * 3)
                await pool.stop()
            case "runner" | "started runner":
                runner = AsyncCheckpointRunner().add_checkpoint(checkpoint)
                await (runner.start_async() if owner == "started runner" else runner.__aenter__())
                for _ in range(3):
                    await runner.run_once_async("c")
                await (runner.stop_async() if owner == "started runner" else runner.__aexit__(None, None, None))
            case "context":
                async with AsyncExecutionContext() as context:
                    for _ in range(3):
                        await checkpoint.execution_strategy.execute(checkpoint.actions, result, context)
        assert server.connections - before == 1
        await until(lambda: server.open == 0)
    assert server.count() == 12


async def test_the_actions_of_one_run_share_a_connection(server: Server) -> None:
    url = server.on("/hook", answer(200))
    actions = [WebhookAction(url=url), SlackNotification(webhook_url=url)]
    checkpoint = Checkpoint("c", FRAME, ["not_null"], actions, execution_strategy="sequential")
    await checkpoint.run_async()
    assert server.connections == 1
    await AsyncCheckpointRunner().run_once_async(checkpoint)  # a runner that was not started owns none
    assert server.connections == 2
    await until(lambda: server.open == 0)


async def test_connections_that_are_closed_while_they_are_made_are_not_left() -> None:
    connections = Connections()
    connections.open()

    async def ask() -> None:
        with pytest.raises(RuntimeError, match="were closed by their owner"):
            await connections.client()

    lock = connections._lock = anyio.Lock()
    async with anyio.create_task_group() as tg, lock:
        tg.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await connections.aclose()
    assert connections._client is None


async def test_connections_are_of_one_loop(server: Server, result: CheckpointResult) -> None:
    url = server.on("/hook", answer(200))
    action = WebhookAction(url=url)
    async with shared_connections():
        await action.execute_async(result)
        # A worker thread has a copy of the context variables, and a loop of its own here.
        outcome = await anyio.to_thread.run_sync(action.execute, result)
        assert outcome.status == "success"
        assert server.connections == 2
    async with Connections() as connections:
        pass
    with connections.in_use():  # closed ones are not used
        assert (await action.execute_async(result)).status == "success"


async def test_connections_that_nobody_needs_are_not_made() -> None:
    async with Connections() as connections:
        with connections.in_use():
            await Checkpoint("c", FRAME, ["not_null"], [len]).run_async()
    assert connections._client is None


def test_cancelled_anywhere_a_delivery_leaves_nothing(backend: Backend, server: Server) -> None:
    url = server.on("/hook", answer(503), answer(200))

    async def operation() -> None:
        result = await check_async(FRAME, ["not_null"])
        async with shared_connections():
            slack = SlackNotification(webhook_url=url, retry_count=1, retry_delay_seconds=0, timeout_seconds=5)
            await slack.execute_async(result)
            await WebhookAction(url=url, hmac_secret="s").execute_async(result)
        await WebhookAction(url=url).execute_async(result)

    assert cancel_everywhere(operation, backend=backend).points >= 10
