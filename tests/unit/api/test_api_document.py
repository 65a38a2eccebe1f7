"""The OpenAPI document and the page made of it."""

from __future__ import annotations

import json
import re

import pytest
from recon3d_api.app import create_app
from recon3d_api.docs_page import render
from recon3d_api.settings import Settings
from recon3d_contract.errors import TABLE


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    settings = Settings(store=str(tmp_path_factory.mktemp("store")), id_secret="x" * 16, auth="none")
    return create_app(settings, None).openapi()  # type: ignore[arg-type]


def test_every_operation_tells_its_errors_with_examples(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "health" in path:
                continue
            for status, answer in operation["responses"].items():
                if int(status) < 400:
                    continue
                media = answer["content"]
                assert list(media) == ["application/problem+json"], (method, path, status)
                for code, example in media["application/problem+json"]["examples"].items():
                    assert example["value"]["status"] == int(status) == TABLE[code].http_status


def test_every_reference_leads_somewhere(document):
    names = set(re.findall(r'"#/components/schemas/([A-Za-z]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"]), names - set(document["components"]["schemas"])


def test_operations_have_names_of_their_own(document):
    names = [operation["operationId"] for each in document["paths"].values() for operation in each.values()]
    assert len(names) == len(set(names))


def test_the_page_has_every_operation_and_error_and_nothing_from_elsewhere(document):
    page = render(document)
    assert all(f"<code>{path}</code>" in page for path in document["paths"])
    assert all(f"id={code.value}" in page for code in TABLE)
    assert not re.search(r"(src|href)=['\"]?https?:", page)
