"""Every form of a reference to data (design part 2b; rows B19, D6, D10 to D15), and what is refused with which reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.references import AddressReference, AssetReference, Reference, ReferenceRejected, StoreReference, parse

WORKSPACE = "/subscriptions/0-1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w"
HEART = StoreReference("heart", "uci/2026 a/x.csv")

FORMS: dict[str, Reference] = {
    "heart@latest": AssetReference("heart"),
    "heart@3": AssetReference("heart", "3"),
    "heart:3": AssetReference("heart", "3"),
    "heart:2026.01-a_b": AssetReference("heart", "2026.01-a_b"),
    "azureml:heart@latest": AssetReference("heart"),
    "azureml:/heart@latest": AssetReference("heart"),
    "azureml:heart:3": AssetReference("heart", "3"),
    "azureml://heart@latest": AssetReference("heart"),
    "azureml:My_Data.csv@latest": AssetReference("my-data-csv"),
    "azureml:a--b:1": AssetReference("a--b", "1"),
    "store://lab/dataitem/heart": AssetReference("heart", "latest", "lab"),
    "store://lab/artifact/heart:3": AssetReference("heart", "3", "lab"),
    f"{WORKSPACE}/data/heart/versions/3": AssetReference("heart", "3"),
    f"azureml:/{WORKSPACE.lower().replace('microsoft.machinelearningservices', 'Microsoft.MachineLearningServices')}"
    "/data/heart/versions/3": AssetReference("heart", "3"),
    "azureml://subscriptions/s/resourcegroups/g/workspaces/w/data/heart/versions/1": AssetReference("heart", "1"),
    "heart/paths/uci": StoreReference("heart", "uci"),
    "heart/paths/paths/paths/x": StoreReference("heart", "paths/paths/x"),
    "azureml://datastores/heart.eu/paths/uci/": StoreReference("heart.eu", "uci/"),
    f"{WORKSPACE}/data/My_Data/versions/V1": AssetReference("my-data", "V1"),
    "azureml://datastores/my_store/paths/Raw_Data/x": StoreReference("my-store", "Raw_Data/x"),
    f"{WORKSPACE}/datastores/my_store/paths/x": StoreReference("my-store", "x"),
    "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/heart/paths/a/b": StoreReference("heart", "a/b"),
    f"{WORKSPACE}/datastores/heart/paths/uci/heart.csv": StoreReference("heart", "uci/heart.csv"),
    "s3://data/a%20b/c.csv": AddressReference("s3", "a b/c.csv", "data"),
    "gs://data/a": AddressReference("gcs", "a", "data"),
    "az://data/a": AddressReference("azureBlob", "a", "data"),
    "abfss://data@account.dfs.core.windows.net/a/b": AddressReference("azureBlob", "a/b", "data", "account"),
    "abfs://data@account.blob.core.windows.net/": AddressReference("azureBlob", "", "data", "account"),
    "https://azuremlexampledata.blob.core.windows.net/data/heart-disease-uci/data": AddressReference(
        "azureBlob", "heart-disease-uci/data", "data", "azuremlexampledata"
    ),
    "https://account.dfs.core.windows.net/data/a%23b": AddressReference("azureBlob", "a#b", "data", "account"),
    "https://data.s3.eu-central-1.amazonaws.com/a": AddressReference(
        "s3", "a", "data", None, "s3.eu-central-1.amazonaws.com"
    ),
    "https://s3.amazonaws.com/data/a/b": AddressReference("s3", "a/b", "data", None, "s3.amazonaws.com"),
    "https://storage.googleapis.com/data/a": AddressReference("gcs", "a", "data"),
    "https://data.storage.googleapis.com/a": AddressReference("gcs", "a", "data"),
    "https://example.org/a%20b.csv?year=2026": AddressReference("https", "/a%20b.csv?year=2026", host="example.org"),
    "https://Example.org:8443/a": AddressReference("https", "/a", host="example.org:8443"),
    "http://example.org/a": AddressReference("http", "/a", host="example.org"),
    # No https, or not its port: what is written is what is asked.
    "http://account.blob.core.windows.net/data/a": AddressReference("http", "/data/a", host="account.blob.core.windows.net"),
}

REFUSED = {
    "": "empty",
    "heart": "not a reference",
    "Heart@latest": "not a reference",
    "my_data@latest": "not a reference",
    f"azureml:{'a' * 64}@latest": "at most 63 characters",
    "./heart.csv": "not a reference",
    "ftp://host/x": "not a reference",
    "a b@latest": "blanks",
    "heart/paths/": "not a reference",
    "heart/paths//": "names no path",
    "heart/paths/../secret": "segments . or ..",
    "heart/paths/a/./b": "segments . or ..",
    "s3://data/a/%2e%2e/b": "segments . or ..",
    "s3://data/a%0ab": "control characters",
    "https://example.org/a/%2E%2E/b": "segments . or ..",
    "s3://data": "names no path",
    "s3://DATA_/x": "no name of a bucket",
    "s3:///x": "no host or bucket",
    "s3://data:9000/x": "an endpoint is a DataStore's",
    "abfss://data@example.org/x": "ACCOUNT.dfs.core.windows.net",
    "store://lab/function/f": "is no data",
    "adl://account.azuredatalakestore.net/x": "retired in 2024",
    "hdfs://name/x": "Hadoop is not supported",
    "wasbs://c@account.blob.core.windows.net/x": "abfss://",
    "file:///etc/passwd": "means nothing in a cluster",
    "https://example.org/x#part": "write # as %23",
    "https://[::1/x": "",
    "https://example.org:99999/x": "",
}

CANARY = "c4n4ry"
WITH_CREDENTIALS = [
    f"https://user:{CANARY}@example.org/x",
    f"https://{CANARY}@example.org/x",
    f"abfss://c:{CANARY}@account.dfs.core.windows.net/x",
    f"https://account.blob.core.windows.net/data/x?sv=2024&sig={CANARY}",
    f"https://data.s3.amazonaws.com/x?X-Amz-Algorithm=a&X-Amz-Signature={CANARY}",
    f"https://storage.googleapis.com/data/x?X-Goog-Signature={CANARY}",
]


@pytest.mark.parametrize("text", FORMS)
def test_every_form_is_read(text: str) -> None:
    assert parse(text) == FORMS[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_followed_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(ReferenceRejected) as refused:
        parse(text)
    assert REFUSED[text] in str(refused.value)
    assert text in str(refused.value) or not text


@pytest.mark.parametrize("text", WITH_CREDENTIALS)
def test_an_address_with_a_credential_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ReferenceRejected, match="a Secret") as refused:
        parse(text)
    assert CANARY not in str(refused.value)


@given(
    st.text(max_size=60) | st.sampled_from([*FORMS]).flatmap(lambda form: st.text(max_size=9).map(lambda end: form + end))
)
def test_any_text_is_read_or_refused_and_no_path_leaves_its_place(text: str) -> None:
    try:
        found = parse(text)
    except ReferenceRejected:
        return
    if not isinstance(found, AssetReference):
        assert not {".", ".."} & set(found.path.split("?")[0].split("/"))
