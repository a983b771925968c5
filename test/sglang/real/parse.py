"""Reads command lines of engines, a JSON list of lists, and parses each as SGLang's launch_server does; then tells its flags."""

import argparse
import json
import sys

from sglang.srt.server_args import ServerArgs
from sglang.srt.utils.server_args_config_parser import ConfigArgumentMerger

parser = argparse.ArgumentParser(prog="sglang serve")
ServerArgs.add_cli_args(parser)
for argv in json.load(sys.stdin):
    if "--config" in argv:
        argv = ConfigArgumentMerger(parser).merge_config_with_args(argv)
    found = vars(parser.parse_args(argv))
    print(json.dumps({name: found[name] for name in ("model_path", "host", "port", "tp_size", "api_key")}))

flags = {
    name.removeprefix("--"): {
        "choices": None if action.choices is None else [str(choice) for choice in action.choices],
        "bare": action.nargs == 0,
    }
    for action in parser._actions
    for name in action.option_strings
    if name.startswith("--")
}
print(json.dumps({"flags": flags}))
