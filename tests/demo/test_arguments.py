import argparse

from auss.demo.arguments import add_demo_arguments


def test_defaults_are_shown_and_parsed():
    parser = argparse.ArgumentParser(prog="auss demo")
    add_demo_arguments(parser)
    assert "(default: 400)" in parser.format_help()
    arguments = parser.parse_args(["--clips", "3", "2", "1"])
    assert (arguments.output, arguments.clips, arguments.seconds) == ("auss-demo", [3, 2, 1], 15.0)
