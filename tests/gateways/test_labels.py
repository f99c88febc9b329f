"""Labels of gateways: given when one is registered or edited, by people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.models import Event
from apps.core.errors import Invalid
from apps.gateways.labels import KEY_PATTERN, VALUE_PATTERN, check_labels, labels_as_text, labels_from_text
from apps.gateways.models import Gateway

if TYPE_CHECKING:
    from tests.harness.world import Inhabited

BODY = {
    "environment": "development",
    "name": "eu-1",
    "address": "http://127.0.0.1:9",
    "deploy_token": "a-secret-deploy-token-of-eu-1",
}


KEYS, VALUES = st.from_regex(KEY_PATTERN, fullmatch=True), st.from_regex(VALUE_PATTERN, fullmatch=True)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_text_and_labels_say_the_same(labels: dict[str, str]) -> None:
    assert labels_from_text(labels_as_text(labels)) == labels


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("region", "is no label"),
        ("Region=eu", "cannot be a label's name"),
        ("region=EU", "must be made of lower-case letters"),
        ("region=", "must be made of lower-case letters"),
        ("region=eu, region=us", "occurs twice"),
        (" ".join(f"l{number}=x" for number in range(21)), "at most 20"),
    ],
)
def test_what_is_no_label_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(Invalid) as refused:
        labels_from_text(text)
    assert complaint in refused.value.fields["labels"][0]


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(Invalid):
        check_labels({"rack": 7})


def test_through_the_api(acme: Inhabited) -> None:
    api = acme.api("owner")
    made = api.post("/gateways/", {**BODY, "labels": {"region": "eu", "rack": "7"}})
    assert made.status_code == 201, made.json()
    assert made.json()["labels"] == {"rack": "7", "region": "eu"}
    assert api.patch("/gateways/eu-1/", {"address": "http://127.0.0.1:10"}).json()["labels"] == made.json()["labels"]
    assert api.patch("/gateways/eu-1/", {"labels": {"region": "us"}}).json()["labels"] == {"region": "us"}
    assert Event.objects.filter(action="gateway.edit").latest("sequence").changes["labels"]
    refused = api.patch("/gateways/eu-1/", {"labels": {"Region": "us"}})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["labels"]
    assert [each["name"] for each in api.get("/gateways/", label="region=us").json()["results"]] == ["eu-1"]
    assert api.get("/gateways/", label="region=eu").json()["results"] == []
    assert api.get("/gateways/", label="nonsense").status_code == 422


def test_on_the_pages(acme: Inhabited) -> None:
    browser = acme.client("owner")
    registered = browser.post("/gateways/register/new/", {**BODY, "labels": "region=eu, rack=7"})
    assert registered.status_code == 302, registered.content.decode()
    assert Gateway.objects.get().labels == {"region": "eu", "rack": "7"}
    assert "region=eu" in browser.get("/gateways/eu-1/").content.decode()
    form = browser.get("/gateways/eu-1/edit/").content.decode()
    assert 'value="rack=7, region=eu"' in form
    wrong = browser.post("/gateways/eu-1/edit/", {"address": BODY["address"], "labels": "Region=eu"})
    assert "cannot be a label" in wrong.content.decode()
