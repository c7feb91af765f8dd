"""`python parse_lines.py vllm|lmdeploy|sglang`: the engine's own parser on command lines from stdin, a JSON list each.

Runs in the environment `test-engines`. Prints {"bad": [[line, what is wrong]], "calls": [names], "thoughts": [names]}.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import io
import json
import sys


def vllm():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())

    def parse(words):
        args = parser.parse_args(words[words.index("serve") + 1 :])
        validate_parsed_serve_args(args)
        assert args.middleware == ["appliance.engines.guard.Guard"] and args.allowed_origins == []
        assert args.structured_outputs_config.disable_any_whitespace
        assert [each.path for each in args.lora_modules or []] == [
            json.loads(word)["path"] for word in words if word.startswith('{"name"')
        ]

    return parse, ToolParserManager.list_registered(), ReasoningParserManager.list_registered()


def lmdeploy():
    from lmdeploy.cli.cli import CLI
    from lmdeploy.cli.serve import SubCliServe
    from lmdeploy.serve.parsers.reasoning_parser import ReasoningParserManager
    from lmdeploy.serve.parsers.tool_parser import ToolParserManager

    SubCliServe.add_parsers()

    def parse(words):
        CLI.parser.parse_args(words[words.index("lmdeploy") + 1 :])

    return parse, list(ToolParserManager.module_dict), list(ReasoningParserManager.module_dict)


class NoPictures(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """SGLang imports torchvision for pictures; the CPU build of torch here has none that fits."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.decode_jpeg = None


def sglang():
    import transformers

    for name in ("AutoProcessor", "AutoConfig", "AutoTokenizer", "GenerationConfig", "PreTrainedTokenizerBase"):
        getattr(transformers, name)  # before torchvision seems to be there
    sys.meta_path.insert(0, NoPictures())
    from sglang.srt.function_call.function_call_parser import FunctionCallParser
    from sglang.srt.parser.reasoning_parser import ReasoningParser
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)

    def parse(words):
        args = parser.parse_args(words[words.index("sglang.launch_server") + 1 :])
        assert args.skip_server_warmup and args.host == "127.0.0.1"

    return parse, list(FunctionCallParser.ToolCallParserEnum), list(ReasoningParser.DetectorMap)


told, sys.stdout = sys.stdout, sys.stderr  # libraries print while they are imported
parse, calls, thoughts = {"vllm": vllm, "lmdeploy": lmdeploy, "sglang": sglang}[sys.argv[1]]()
bad = []
for line in sys.stdin:
    words, said = json.loads(line), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parse(words)
    except (SystemExit, Exception) as error:
        bad.append([" ".join(words), f"{said.getvalue()[-500:]} {error!r}"])
json.dump({"bad": bad, "calls": calls, "thoughts": thoughts}, told)
