"""A model server that speaks TensorFlow Serving's two protocols with real sessions, in processes of its own.

``python -m tests.tf_serving_server`` imports TensorFlow once and then forks a server for each line that it reads, so
that one can be killed and started again in a moment. It ends, with all of them, when its input does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
CAPACITY = 32
"""Calls that a server works on at once."""


class ModelServers:
    """The process from which servers are forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tf_serving_server"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> Any:
        """Send one command and read its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the model server's process has ended"
        return json.loads(line)

    def close(self) -> None:
        """End it and all servers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class ModelServer:
    """One server: started, killed and started again on the same ports, and told how to behave by a file.

    Args:
        servers: where it is forked.
        folder: for its own files.
        models: name -> folder of numbered versions.
        tls: paths of certificate and key for gRPC.
    """

    def __init__(
        self, servers: ModelServers, folder: Path, models: dict[str, Path], tls: tuple[Path, Path] | None = None
    ) -> None:
        self._servers = servers
        self._log, self._control = folder / "calls.jsonl", folder / "control.json"
        self._config: dict[str, Any] = {
            "models": {name: str(path) for name, path in models.items()},
            "control": str(self._control),
            "log": str(self._log),
            "ports": [0, 0],
            "tls": tls and [str(path) for path in tls],
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.behave()
        self._pid: int | None = None

    def start(self) -> ModelServer:
        """Start it; when this returns, it listens."""
        self._pid, *self._config["ports"] = self._servers.ask(start=self._config)
        return self

    def kill(self) -> None:
        """End it as a crash does: connections are reset."""
        if self._pid is not None:
            self._servers.ask(end=self._pid, signal=signal.SIGKILL)
            self._pid = None

    def stop(self) -> None:
        """End it as an operator does: calls under way are answered."""
        if self._pid is not None:
            self._servers.ask(end=self._pid, signal=signal.SIGTERM)
            self._pid = None

    def behave(self, **how: Any) -> None:
        """From now on: ``delay`` (s), ``fail`` ({model: gRPC code}), ``states`` ({model: state}), ``labels``."""
        temporary = self._control.with_suffix(".new")
        temporary.write_text(json.dumps(how))
        temporary.replace(self._control)

    def calls(self, method: str = "Predict") -> list[dict[str, Any]]:
        """The calls it has got: ``method``, ``metadata``, ``remaining_s``, ``version``."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [call for call in map(json.loads, lines) if call["method"] == method]

    @property
    def target(self) -> str:
        """Its gRPC address."""
        return f"127.0.0.1:{self._config['ports'][0]}"

    @property
    def rest_target(self) -> str:
        """Its REST address."""
        return f"http://127.0.0.1:{self._config['ports'][1]}"


# What follows runs in the server's process.


class Refused(Exception):
    """A call that gets a status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class LoadedModels:
    """SavedModels in TensorFlow sessions, with the behaviour that the control file asks for."""

    def __init__(self, config: dict[str, Any]) -> None:
        import tensorflow as tf

        self._config = config
        self._lock = threading.Lock()
        self._versions: dict[str, dict[int, tuple[Any, Any]]] = {}
        for name, folder in config["models"].items():
            for version in Path(folder).iterdir():
                session = tf.compat.v1.Session(graph=tf.Graph())
                with session.graph.as_default():
                    meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
                self._versions.setdefault(name, {})[int(version.name)] = (session, meta_graph.signature_def)

    @property
    def control(self) -> dict[str, Any]:
        """What the control file says now."""
        control: dict[str, Any] = json.loads(Path(self._config["control"]).read_text())
        return control

    def begin(self, method: str, spec: Any, metadata: dict[str, str], remaining_s: float | None) -> int:
        """Note a call, misbehave if that is asked for, and choose the version."""
        control = self.control
        call = {"method": method, "model": spec.name, "metadata": metadata, "remaining_s": remaining_s}
        with self._lock, Path(self._config["log"]).open("a") as log:
            log.write(json.dumps(call) + "\n")
        if method == "Predict":
            time.sleep(control.get("delay", 0))
        if code := control.get("fail", {}).get(spec.name):
            raise Refused(code, f"told to fail with {code}, secret internals")
        if spec.name not in self._versions:
            raise Refused("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
        versions = self._versions[spec.name]
        label = control.get("labels", {}).get(spec.version_label)
        if spec.version_label and label is None:
            raise Refused("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        version: int = spec.version.value if spec.HasField("version") else label or self.latest(spec.name)
        if version not in versions:
            raise Refused("NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {version})")
        return version

    def latest(self, name: str) -> int:
        """The latest version, or the one that the control file makes it."""
        latest: int = self.control.get("latest", {}).get(name, max(self._versions[name]))
        return latest

    def status(self, request: Any, metadata: dict[str, str]) -> Any:
        """GetModelStatus."""
        from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus

        version = self.begin("GetModelStatus", request.model_spec, metadata, None)
        state = self.control.get("states", {}).get(request.model_spec.name, "AVAILABLE")
        return GetModelStatusResponse(
            model_version_status=[ModelVersionStatus(version=version, state=ModelVersionStatus.State.Value(state))]
        )

    def metadata(self, request: Any, metadata: dict[str, str]) -> Any:
        """GetModelMetadata."""
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap

        version = self.begin("GetModelMetadata", request.model_spec, metadata, None)
        signatures = SignatureDefMap()
        for name, signature in self._versions[request.model_spec.name][version][1].items():
            signatures.signature_def[name].CopyFrom(signature)
        response = GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def predict(self, request: Any, metadata: dict[str, str], remaining_s: float | None) -> Any:
        """Predict."""
        import tensorflow as tf
        from tensorflow.core.protobuf.config_pb2 import CallableOptions
        from tensorflow_serving.apis.predict_pb2 import PredictResponse

        version = self.begin("Predict", request.model_spec, metadata, remaining_s)
        session, signatures = self._versions[request.model_spec.name][version]
        name = request.model_spec.signature_name or "serving_default"
        if name not in signatures:
            raise Refused("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
        signature = signatures[name]
        wanted = request.output_filter or signature.outputs
        fetches = [signature.outputs[output].name for output in wanted]
        feeds = {signature.inputs[key].name: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        try:
            values = session.run(fetches, feeds)
        except ValueError:  # Python's check of shapes, which TensorFlow Serving does not have
            values = session._make_callable_from_options(CallableOptions(feed=feeds, fetch=fetches))(*feeds.values())
        except tf.errors.InvalidArgumentError as error:
            raise Refused("INVALID_ARGUMENT", error.message) from error
        response = PredictResponse()
        for output, value in zip(wanted, values, strict=True):
            response.outputs[output].CopyFrom(tf.make_tensor_proto(value))
        return response


def serve(config: dict[str, Any]) -> tuple[Any, int, ThreadingHTTPServer]:
    """Start both servers."""
    import grpc
    from tensorflow_serving.apis.model_service_pb2_grpc import (
        ModelServiceServicer,
        add_ModelServiceServicer_to_server,
    )
    from tensorflow_serving.apis.prediction_service_pb2_grpc import (
        PredictionServiceServicer,
        add_PredictionServiceServicer_to_server,
    )

    models = LoadedModels(config)

    def answer(context: Any, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Refused as refused:
            context.abort(getattr(grpc.StatusCode, refused.code), str(refused))

    def metadata(context: Any) -> dict[str, str]:
        return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}

    class Predictions(PredictionServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:
            return answer(context, models.predict, request, metadata(context), context.time_remaining())

        def GetModelMetadata(self, request: Any, context: Any) -> Any:
            return answer(context, models.metadata, request, metadata(context))

    class Models(ModelServiceServicer):  # type: ignore[misc]
        def GetModelStatus(self, request: Any, context: Any) -> Any:
            return answer(context, models.status, request, metadata(context))

    server = grpc.server(ThreadPoolExecutor(CAPACITY), options=[("grpc.max_receive_message_length", -1)])
    add_PredictionServiceServicer_to_server(Predictions(), server)
    add_ModelServiceServicer_to_server(Models(), server)
    address = f"127.0.0.1:{config['ports'][0]}"
    if config["tls"]:
        certificate, key = (Path(path).read_bytes() for path in config["tls"])
        port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    else:
        port = server.add_insecure_port(address)
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", config["ports"][1]), rest_handler(models))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    return server, port, rest


HTTP_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}


def rest_handler(models: LoadedModels) -> type[BaseHTTPRequestHandler]:
    """Make what answers the REST API, columnar predictions of numbers and strings."""
    import numpy as np
    import tensorflow as tf
    from google.protobuf.json_format import MessageToDict
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    def as_dict(message: Any) -> Any:
        return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, body: Any) -> None:
            try:
                status, answer = 200, self._call(body)
            except Refused as refused:
                status, answer = HTTP_STATUS.get(refused.code, 500), {"error": str(refused)}
            data = json.dumps(answer, indent=4).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _call(self, body: Any) -> Any:
            path, _, verb = self.path.partition(":")
            parts = path.removeprefix("/v1/models/").split("/")
            metadata = {key.lower(): value for key, value in self.headers.items()}
            kinds = {"predict": PredictRequest, "metadata": GetModelMetadataRequest}
            request = kinds.get(verb or parts[-1], GetModelStatusRequest)()
            request.model_spec.name = unquote(parts[0])
            if "versions" in parts:
                request.model_spec.version.value = int(parts[parts.index("versions") + 1])
            if "labels" in parts:
                request.model_spec.version_label = unquote(parts[parts.index("labels") + 1])
            if verb == "predict":
                return self._predict(request, body, metadata)
            if parts[-1] == "metadata":
                response = models.metadata(request, metadata)
                found = SignatureDefMap()
                response.metadata["signature_def"].Unpack(found)
                return {"model_spec": as_dict(response.model_spec), "metadata": {"signature_def": as_dict(found)}}
            return as_dict(models.status(request, metadata))

        def _predict(self, request: Any, body: Any, metadata: dict[str, str]) -> Any:
            meta_request = GetModelMetadataRequest(model_spec=request.model_spec)
            found = SignatureDefMap()
            models.metadata(meta_request, {}).metadata["signature_def"].Unpack(found)
            signature = found.signature_def[body["signature_name"]]
            request.model_spec.signature_name = body["signature_name"]
            for name, value in body["inputs"].items():
                dtype = tf.dtypes.as_dtype(signature.inputs[name].dtype).as_numpy_dtype
                request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(value, dtype)))
            response = models.predict(request, metadata, None)
            outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
            values = {
                name: np.vectorize(bytes.decode, otypes=[object])(array).tolist()
                if array.dtype == object
                else array.tolist()
                for name, array in outputs.items()
            }
            return {"outputs": next(iter(values.values())) if len(values) == 1 else values}

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the tests read the calls."""

    return Handler


def write_models(folder: Path) -> None:
    """Write small SavedModels: ``half`` (two versions), ``text``, ``picky`` and ``colors``, a folder each."""
    import tensorflow as tf

    v1 = tf.compat.v1

    def write(path: Path, inputs: dict[str, Any], outputs: dict[str, Any], graph: Any) -> None:
        builder = v1.saved_model.Builder(str(path))
        info = v1.saved_model.utils.build_tensor_info
        signature = v1.saved_model.signature_def_utils.build_signature_def(
            {name: info(tensor) for name, tensor in inputs.items()},
            {name: info(tensor) for name, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        with v1.Session(graph=graph) as session:
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()

    for version, added in ((1, 2.0), (2, 3.0)):
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None], "x")
            write(folder / "half" / str(version), {"x": x}, {"y": x / 2 + added, "twice": x * 2}, graph)
    with tf.Graph().as_default() as graph:
        text = v1.placeholder(tf.string, [None], "text")
        write(folder / "text" / "1", {"text": text}, {"upper": tf.strings.upper(text)}, graph)
    with tf.Graph().as_default() as graph:
        index = v1.placeholder(tf.int32, [None], "index")
        with tf.device("/cpu:0"):
            found = tf.gather(tf.constant([1.0, 2.0, 3.0]), index)
        write(folder / "picky" / "1", {"index": index}, {"found": found}, graph)
    with tf.Graph().as_default() as graph:
        image = v1.placeholder(tf.float32, [None, 8, 8, 3], "image")
        write(
            folder / "colors" / "1", {"image": image}, {"scores": tf.nn.softmax(tf.reduce_mean(image, [1, 2]))}, graph
        )


def in_child(config: dict[str, Any], result: int) -> None:
    """One server's life: until it is told to end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server, port, rest = serve(config)
    os.write(result, json.dumps([port, rest.server_address[1]]).encode())
    os.close(result)
    stop.wait()
    server.stop(10).wait()
    rest.shutdown()


def fork(work: Any, *arguments: Any) -> tuple[int, bytes]:
    """Run a function in a fork of this process; returns what it writes to its last argument, a pipe."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            sys.stdin.close()
            work(*arguments, write)
            os._exit(0)
        except BaseException:  # noqa: BLE001  # it must not go on as its parent
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        return pid, answer.read()


def commands() -> Iterator[dict[str, Any]]:
    """What the tests ask for, line by line."""
    yield from map(json.loads, sys.stdin)


def main() -> None:
    """Answer commands."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tensorflow  # noqa: F401
    import tensorflow_serving.apis.prediction_service_pb2_grpc  # noqa: F401

    running = set()
    for command in commands():
        answer: Any = None
        if "start" in command:
            pid, ports = fork(in_child, command["start"])
            running.add(pid)
            answer = [pid, *json.loads(ports)]
        elif "write" in command:
            pid, _ = fork(lambda folder, _write: write_models(Path(folder)), command["write"])
            answer = os.waitpid(pid, 0)[1]
        elif "end" in command:
            os.kill(command["end"], command["signal"])
            os.waitpid(command["end"], 0)
            running.discard(command["end"])
        output.write(json.dumps(answer) + "\n")
        output.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
