"""The command behind ``scripts/conformance``, which has made the environments that this needs."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from tests.conformance.page import PAGE, write_page
from tests.conformance.results import find_faults, read_results, table
from tests.conformance.suite import AGENTS, QUICK_CASES, REPORTS, ROOT, run_agent

if TYPE_CHECKING:
    from tests.conformance.suite import Agent, Run

ALL_CASES = ("*",)
# Of the long ones, for each payload and each way to negotiate one size whole and one in fragments,
# and one of the longest.
CI_CASES = (*QUICK_CASES, "12.*.4", "12.*.11", "12.1.15", "13.*.4", "13.*.11")


def main() -> int:
    options = read_options()
    agents = [agent for agent in AGENTS if agent.name in options.agents]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(partial(run_and_tell, cases=options.cases), agents))
    results = [
        result
        for agent, run in zip(agents, runs, strict=True)
        for result in read_results(agent, run.cases or ())
    ]
    faults = find_faults(results)
    faults += [
        f"{agent.name}: the server logged {error}"
        for agent, run in zip(agents, runs, strict=True)
        for error in run.errors
    ]
    print("\n".join(["", *table(results, agents), ""]))
    if options.write:
        write_page(results, agents, runs[0].version)
        print(f"Written: {PAGE.relative_to(ROOT)}")
    print(f"{len(results)} cases, see {REPORTS.relative_to(ROOT)}/*/index.html")
    for fault in faults:
        print(f"FAILED: {fault}")
    if not results:
        print("FAILED: there are no such cases")
    return 1 if faults or not results else 0


def read_options() -> argparse.Namespace:
    names = [agent.name for agent in AGENTS]
    parser = argparse.ArgumentParser("scripts/conformance", add_help=False)
    parser.add_argument("--cases", nargs="+", metavar="PATTERN", default=ALL_CASES)
    parser.add_argument("--agents", nargs="+", metavar="NAME", choices=names, default=names)
    parser.add_argument("--ci", dest="cases", action="store_const", const=CI_CASES)
    parser.add_argument("--jobs", type=int, metavar="NUMBER", default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write and (options.cases != ALL_CASES or options.agents != names):
        parser.error("--write needs all cases and all agents")
    return options


def run_and_tell(agent: Agent, cases: tuple[str, ...]) -> Run:
    """Run the suite against one agent, and print where it is when a section begins."""
    begun = set()

    def tell(case: str) -> None:
        section = case.partition(".")[0]
        if section not in begun:
            begun.add(section)
            print(f"{agent.title}: section {section}", flush=True)

    return run_agent(agent, cases, tell)


if __name__ == "__main__":
    sys.exit(main())
