"""tritonclient: what a server has, and how a model is unloaded and loaded again."""

import json
import sys

import tritonclient.http as triton

url = sys.argv[1]
CONNECTIONS = 8


def ready_on_each_connection(model: str) -> list[bool]:
    """Ask on connections of their own, which land in whichever worker process is free."""
    answers = set()
    for _ in range(CONNECTIONS):
        with triton.InferenceServerClient(url) as other:
            answers.add(other.is_model_ready(model))
    return sorted(answers)


with triton.InferenceServerClient(url) as client:
    answers = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "server": client.get_server_metadata(),
        "model_ready": client.is_model_ready("half_plus_two"),
        "version_ready": client.is_model_ready("half_plus_two", "123"),
        "other_version_ready": client.is_model_ready("half_plus_two", "7"),
        "other_model_ready": client.is_model_ready("nobody"),
        "model": client.get_model_metadata("half_plus_two"),
        "version": client.get_model_metadata("half_plus_two", "123"),
        "pictures": client.get_model_metadata("mobilenet"),
        "strings": client.get_model_metadata("echo"),
        "config": client.get_model_config("half_plus_two"),
        "index": client.get_model_repository_index(),
    }
    client.unload_model("spare")
    answers["unloaded"] = ready_on_each_connection("spare")
    answers["index_without_spare"] = client.get_model_repository_index()
    client.load_model("spare")
    answers["loaded"] = ready_on_each_connection("spare")

print(json.dumps(answers))
