"""Arguments and options of the commands: names, places of values, help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _option(*names: str, value: str | None = None, text: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=value, help=text, **more)


def _of_script(*names: str, value: str | None = None, text: str) -> Any:
    return _option(*names, value=value, text=text, rich_help_panel="With SCRIPT")


PLACE = "STORE/paths/PATH"

Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a JobRun.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of JobRuns.")]
Namespace = Annotated[
    str | None, _option("--namespace", "-n", value="NS", text="Namespace; the kubeconfig context's if absent.")
]
Context = Annotated[str | None, _option("--context", value="NAME", text="Context of the kubeconfig.")]
Timeout = Annotated[
    str | None,
    _option("--timeout", value="DURATION", text="Give up after 90s, 30m, 1h30m; the run itself goes on, a local one ends."),
]

# run
Script = Annotated[
    Path | None, typer.Argument(metavar="SCRIPT", help="A Python file or a folder of them, when there is no manifest.")
]
Files = Annotated[list[str] | None, _option("--file", "-f", value="FILE", text="Manifests with a JobRun; - is stdin.")]
Deployed = Annotated[
    str | None,
    _option(
        "--deployment", value="NAME", text="Run this Deployment; --param, --env, --input and --output win over its own."
    ),
]
Follow = Annotated[bool, _option("--follow/--no-follow", text="Follow the run, or only print its name.")]
Force = Annotated[bool, _option("--force-conflicts", text="Take over fields that another field manager set.")]
Inputs = Annotated[
    list[str] | None,
    _of_script(
        "--input",
        value=f"[NAME=]{PLACE}",
        text="Data to stage; also a version of an asset, ASSET@latest; with --local a file or folder. NAME: data if absent.",
    ),
]
InputType = Annotated[
    Literal["uri_folder", "uri_file"] | None, _of_script("--input-type", text="What --input is: a folder, or one file.")
]
Outputs = Annotated[
    list[str] | None,
    _of_script(
        "--output",
        value=f"NAME[={PLACE}]",
        text="Where results go; with --local also NAME=DIR. NAME alone: an asset in the default store.",
    ),
]
Parameters = Annotated[
    list[str] | None, _of_script("--param", value="NAME=VALUE", text="Argument of the handler, JSON or text.")
]
Variables = Annotated[list[str] | None, _of_script("--env", value="NAME=VALUE", text="Environment variable.")]
Requirements = Annotated[
    Path | None,
    _of_script("--requirements", value="FILE", text="requirements.txt; else the script's own block (PEP 723)."),
]
Python = Annotated[str | None, _of_script("--python", value="VERSION", text="Python version; 3.13 if absent.")]
Handler = Annotated[
    str | None,
    _of_script("--handler", value="[MODULE:]FUNCTION", text="Call this function; if absent the script is run as it is."),
]
Entry = Annotated[
    str | None, _of_script("--script", value="FILE", text="Of a folder: the file of it that is run; main.py if absent.")
]
FunctionName = Annotated[str | None, _of_script("--name", value="NAME", text="Name of the Function; if absent the file's.")]
Local = Annotated[bool, _option("--local", text="Run on this machine, without a cluster.")]
Stores = Annotated[
    list[str] | None,
    _option("--store", value="NAME=DIR", text="With --local: a folder as DataStore NAME; the first is the default store."),
]
Format = Annotated[Literal["yaml"] | None, _of_script("-o", text="Only print the manifests.")]

# serve
LocalService = Annotated[bool, _option("--local", text="On this machine, for callers on this machine.")]
ServedFunction = Annotated[
    str | None, _option("--function", value="NAME", text="The Function, where FILE has more than one.")
]
InitParameters = Annotated[
    list[str] | None, _option("--param", value="NAME=VALUE", text="Argument of the Function's init, JSON or text.")
]
Port = Annotated[int, _option("--port", value="PORT", text="0 for one that is free.")]

# deploy, runs
Manifests = Annotated[list[str], _option("--file", "-f", value="FILE", text="Manifests; - is stdin.")]
ReadyTimeout = Annotated[
    str, _option("--timeout", value="DURATION", text="How long Deployments may take until they are ready.")
]
OfDeployment = Annotated[str | None, _option("--deployment", value="NAME", text="Runs of this Deployment only.")]
Table = Annotated[Literal["json"] | None, _option("-o", text="As a program reads it.")]

# convert
Foreign = Annotated[
    Literal["watsonx", "azureml"],
    typer.Argument(metavar="watsonx|azureml", help="A job's payload of watsonx, or YAML of a data asset of Azure ML."),
]
ForeignFile = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is stdin.")]
Deployment = Annotated[
    str | None, _option("--deployment", value="NAME", text="The Function that is the deployment of the other system.")
]
ConnectedStores = Annotated[
    list[str] | None,
    _option("--store", value="CONNECTION_ID=STORE", text="The DataStore that a connection is; may be given again."),
]
SpaceAssets = Annotated[
    list[str] | None, _option("--asset", value="ASSET_ID=NAME", text="The DataAsset that an asset is; may be given again.")
]

# rerun
FailedShards = Annotated[bool, _option("--failed-shards", text="Only the shards that have failed.")]

# logs
FollowLog = Annotated[bool, _option("--follow", "-f", text="Wait for the pod, and go on until the run is over.")]
Container = Annotated[Literal["main", "stage", "collect"], _option("--container", "-c", text="Container of the run's pod.")]
TailLines = Annotated[int | None, _option("--tail", value="N", min=0, text="The last N lines only.")]

# download
OneOutput = Annotated[list[str] | None, _option("--output", value="NAME", text="This output only; may be given again.")]
Target = Annotated[Path | None, _option("--to", value="DIR", text="Folder; if absent one with the run's name.")]
Extract = Annotated[bool, _option("--extract", text="Unpack each zip into a folder with the output's name.")]

# asset, lineage
AssetVersion = Annotated[
    str, typer.Argument(metavar="NAME[@VERSION]", help="An asset; its latest version if none is named.")
]
DataFormat = Annotated[Literal["json", "yaml"] | None, _option("-o", text="The objects, for programs.")]
AssetFiles = Annotated[list[str], _option("--file", "-f", value="FILE", text="Manifests of DataAssets; - is stdin.")]
AssetTarget = Annotated[
    Path | None, _option("--to", "-o", value="DIR", text="Folder; if absent one with the name and version.")
]
