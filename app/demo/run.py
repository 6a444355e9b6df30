"""The course of a demo: start, publish, come to rest, prove, and stay or end."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any, Final

from rich.console import Console

from app.cli.api_client import Api, Call, curl_of
from app.cli.cluster.replay import print_report, replay_log
from app.cli.output import print_json
from app.cluster import Cluster
from app.control.proof import keyring_of
from app.demo import prometheus, shell
from app.demo.account import PAYMENT_OF_REF, Verdict, judge, read_books
from app.demo.api_account import ApiAccount
from app.demo.chaos import Chaos
from app.demo.operator_calls import UNANSWERED, OperatorCalls
from app.demo.options import Options
from app.demo.people import People
from app.demo.programs import API, PROCESSORS, REPLAY
from app.demo.stage import Stage, ended_by_signals
from app.demo.table import Display
from app.demo.watcher import Watcher
from app.exits import ExitCode, Problem
from control.acts.roles import AUDITOR
from core.values import State
from engine.clock import SystemClock
from schemas import catalogue

TICK_SECONDS: Final = 0.05
QUIET_SECONDS: Final = 2.0
REST_SECONDS_MAX: Final = 240.0  # after the load: enquiries, timers and people take their time
LOAD_SECONDS_MORE: Final = 300.0  # beyond what the rate says, for a slow machine
NAMED_MAX: Final = 10
PROOF_AFTER_SECONDS: Final = 5.0
WAITS_FOR: Final = {  # what ends a payment's unrest, by its state
    State.CREATED: "Deposits Core and Resolve",
    State.AUTHORISED: "the time a payment asked for, or its expiry",
    State.SENT: "the rail's answers and the timers behind them",
    State.ACKNOWLEDGED: "settlement, and the timers behind it",
    State.SETTLED: "Deposits Core after settlement",
    State.FAILED: "the end of funds and enquiries",
    State.EXPIRED: "the end of funds and enquiries",
}
FIGURES: Final = (  # in this order at the end; docs/demo.md explains them
    *("published", "accepted", "duplicates", "rejected", "quarantined", "others", "noEffect"),
    *("states", "openConflicts", "waitingForPerson", "events", "settledTwice"),
    *("unaccountedInputs", "kills", "replay", "seconds", "inputsPerSecond"),
    *("endToEndMillis", "operators"),
)
RECONCILES: Final = "Everything reconciles."
STRENGTHS: Final = ("fold", "chain", "redecide", "identity", "money")
TRY: Final = (
    "npp payment list --state FAILED",
    "npp payment publish --key mine --amount 12.50",
    "npp doctor",
)
TRY_CALL: Final = ("VIEWER", Call("GET", "/api/summary"))  # with whose token, and what
AT_REST: Final = "keeps running until Ctrl-C"


def run_demo(options: Options) -> int:
    """The whole demo; its exit code. Raises Problem when something cannot be started."""
    display = Display(SystemClock())
    with ended_by_signals(), Stage(options) as stage, display:
        try:
            code = _Demo(options, stage, display).run()
        except KeyboardInterrupt:
            display.end()
            display.say("ended by Ctrl-C before the proof")
            code = int(ExitCode.INTERRUPTED)
    again = f"{shell.npp()} demo --data {shlex.quote(str(stage.data))}"
    display.line(f"Payments and logs stay in {stage.data}.")
    display.line(f"To go on with them: {again}. To begin again: {again} --reset")
    return code


class _Demo:
    def __init__(self, options: Options, stage: Stage, display: Display) -> None:
        self._options = options
        self._stage = stage
        self._display = display
        self._clock = stage.clock
        self._started_s = self._clock.monotonic_s()
        self._proof_state = "none"

    def run(self) -> int:
        display, stage = self._display, self._stage
        display.say("Kafka and the schema registry start")
        cluster = stage.start_platform()
        try:
            return self._course(cluster)
        finally:
            cluster.close()

    def _course(self, cluster: Cluster) -> int:
        display, stage = self._display, self._stage
        display.say("simulators, processors and adapters start")
        proves = () if self._options.once else (REPLAY,)
        stage.start_programs((*PROCESSORS, *proves, API))
        self._watcher = Watcher(cluster, stage.programs.run)
        names = [topic.name for topic in catalogue.load().inputs()]
        places = [(name, n) for name in names for n in range(cluster.partitions(name))]
        self._start = {**cluster.ends.high(places), **self._watcher.start}
        self._calls = OperatorCalls(stage.url(API), stage.token)
        self._people = People(
            self._calls, self._clock, self._watcher, stage.rail_entry, self._options.seed
        )
        self._chaos = Chaos(stage.supervisor, self._clock, self._options.seed, stage.is_ready)
        self._welcome()
        try:
            problems = self._work(cluster)
        finally:
            self._calls.close()
            self._watcher.close()
        return int(ExitCode.FAILED if problems else ExitCode.OK)

    def _work(self, cluster: Cluster) -> list[str]:
        """Load, rest, proof, and staying up; what does not reconcile."""
        load_s = self._clock.monotonic_s()
        self._stage.start_publisher()
        load = self._load()
        rested = self._rest(load)
        rest_s = self._clock.monotonic_s()
        self._display.end()
        verdict = self._prove(cluster, load)
        verdict.problems += rested + self._ask_the_api(cluster)
        inputs_per_second = self._inputs / max(rest_s - load_s, 0.001)
        self._report(verdict, self._figures(verdict, inputs_per_second))
        if not self._options.once:
            self._stay()
        return verdict.problems

    # -- course ------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        """Wait until the publisher has ended; returns its account. Raises Problem."""
        options = self._options
        allowed = LOAD_SECONDS_MORE + (2 * options.payments / options.rate if options.rate else 0)
        begun_s = self._clock.monotonic_s()
        until = begun_s + allowed
        while True:
            load = self._stage.published()
            if load is not None and not self._chaos_goes_on(load_runs=False):
                return load
            self._first_proof(begun_s)
            self._tick("the load runs", begin=True)
            if self._chaos_goes_on(load_runs=load is None):
                victim = self._chaos.step()
                if victim is not None:
                    self._display.say(f"killed {victim}")
            if self._clock.monotonic_s() > until:
                raise Problem(f"The load did not end within {allowed:.0f} s.")

    def _first_proof(self, begun_s: float) -> None:
        """A first proof a few seconds into the load."""
        if (
            self._proof_state == "none"
            and self._clock.monotonic_s() - begun_s > PROOF_AFTER_SECONDS
        ):
            self._stage.start_proof()
            self._proof_state = "runs"
        if self._proof_state != "runs":
            return
        report = self._stage.proof()
        if report is not None:
            self._proof_state = "reported"
            verdicts = [f"{name} {report[name]['verdict']}" for name in STRENGTHS if name in report]
            events = report.get("fold", {}).get("events", 0)
            says = f"{', '.join(verdicts)} over {events} events" if verdicts else "not readable"
            self._display.say(f"first proof, while the load goes on: {says}")

    def _chaos_goes_on(self, *, load_runs: bool) -> bool:
        return self._options.chaos and self._chaos.wanted(load_runs=load_runs)

    def _rest(self, load: dict[str, Any]) -> list[str]:
        """Wait until every payment is final or waits for a person; returns problems if not."""
        until = self._clock.monotonic_s() + REST_SECONDS_MAX
        while self._clock.monotonic_s() < until:
            waits = self._waits_for(load["records"])
            if not waits:
                return []
            self._tick(f"coming to rest, waits for {waits}", begin=True)
        waits = self._waits_for(load["records"])
        left = self._watcher.restless()
        names = [f"{each.payment_intent_id} {each.state} {each.funds}" for each in left[:NAMED_MAX]]
        return [f"not at rest after {REST_SECONDS_MAX:.0f} s, waits for {waits}", *names]

    def _waits_for(self, records: int) -> str:
        """What the demo's own load still waits for, as text; "" if all is at rest."""
        watcher = self._watcher
        if watcher.accounted < records:
            return f"{records - watcher.accounted} records to be decided"
        restless = Counter(WAITS_FOR[State(each.state)] for each in watcher.restless())
        if restless:
            return ", ".join(f"{what} ({count})" for what, count in restless.most_common())
        if self._people.busy():
            return "the simulated operators"
        if watcher.quiet_seconds() < QUIET_SECONDS:
            return "two quiet seconds"
        undecided = watcher.undecided()
        if undecided:
            return f"{undecided} reports and timers to be decided"
        entries = self._stage.ledger("rail")["payments"]
        own = {payment_id.removeprefix("pi_").upper() for payment_id in watcher.own}
        waiting = [each for each in entries if each["externalRef"][PAYMENT_OF_REF] in own]
        return "late reports of the rail" if any(e["stepsPending"] for e in waiting) else ""

    def _tick(self, doing: str, *, begin: bool) -> None:
        for ended in self._stage.tend():
            if not ended.killed_by_us and ended.exit_code != 0:
                self._display.say(
                    f"{ended.name} ended with {ended.exit_code} and is restarted; last output:\n"
                    f"{_last_lines(self._stage.supervisor.log_tail(ended.name))}"
                )
        self._watcher.look()
        self._people.step(begin=begin)
        self._display.show(
            self._watcher,
            doing=doing,
            kills=self._chaos.kills,
            answers=self._calls.counts.total(),
        )
        self._clock.sleep(TICK_SECONDS)

    def _prove(self, cluster: Cluster, load: dict[str, Any]) -> Verdict:
        """Read everything again: Kafka, ledgers, and the replay from offset zero."""
        self._display.say("everything is at rest; replaying the journal from offset zero")
        keyring = keyring_of(self._stage.data / "verifier" / "keyring.json")
        report = replay_log(cluster, keyring)
        self._replayed = report
        names = [topic.name for topic in catalogue.load().inputs()]
        books = read_books(cluster, self._start, names, self._stage.programs.run)
        self._inputs = books.inputs
        return judge(
            books, load, self._stage.ledger("rail"), self._stage.ledger("deposits"), report
        )

    def _welcome(self) -> None:
        """Where the API is, who may sign in, and what to try."""
        stage, say = self._stage, self._display.say
        ready = stage.ready()
        if self._options.json:
            print_json(ready, indent=False)
        here = shell.write_shell_file(stage.data, ready["api"], ready["tokens"])
        say("everything is running; the load begins")
        if self._options.json:
            return
        out = self._display.line
        out(f"The operators' dashboard is at {ready['dashboard']}")
        out(f"The API is at {ready['api']} (OpenAPI at /openapi.json)")
        if ready[prometheus.PROMETHEUS]:
            out(f"Prometheus is at {ready[prometheus.PROMETHEUS]}/alerts")
            out(f"Alertmanager, with firing alerts, is at {ready[prometheus.ALERTMANAGER]}")
        else:
            out(prometheus.MISSING)
        out("This line sets up `npp` and a token for each role (for eight hours) in another shell:")
        out(f"  {here}")
        out("Then try:")
        for line in TRY:
            out(f"  {line}")
        role, call = TRY_CALL
        out("  " + curl_of("$NPP_API_URL", call).replace("NPP_API_TOKEN", role))
        out("  echo $OPERATOR     # a token to sign in to the dashboard with")

    def _ask_the_api(self, cluster: Cluster) -> list[str]:
        """Compare the API with Kafka; returns differences as text."""
        self._display.say("comparing every payment and operator command with the API")
        with Api(self._stage.url(API), self._stage.token("demo-account", AUDITOR)) as api:
            account = ApiAccount(cluster, api, self._stage.tend)
            results = ", ".join(f"{name} {n}" for name, n in self._calls.counts.most_common())
            self._display.say(f"results given to the operators: {results or 'none'}")
            return account.problems(self._calls.acknowledged)

    def _operator_figures(self) -> dict[str, int]:
        """Counts of the results of all simulated operators' calls."""
        counts = self._calls.counts
        counted = {name: counts[name] for name in ("accepted", "duplicate", "no_effect")}
        rejected = sum(counts.values()) - sum(counted.values()) - counts[UNANSWERED]
        return {
            "accepted": counted["accepted"],
            "duplicates": counted["duplicate"],
            "noEffect": counted["no_effect"],
            "rejected": rejected,
            "unanswered": counts[UNANSWERED],
        }

    def _figures(self, verdict: Verdict, inputs_per_second: float) -> dict[str, Any]:
        figures = verdict.figures
        seconds = self._clock.monotonic_s() - self._started_s
        figures |= {
            "kills": self._chaos.kills,
            "seconds": round(seconds, 1),
            "inputsPerSecond": round(inputs_per_second, 1),
            "operators": self._operator_figures(),
        }
        return {name: figures[name] for name in FIGURES}

    def _report(self, verdict: Verdict, figures: dict[str, Any]) -> None:
        if not self._options.json:
            print_report(self._replayed)
        out = Console(stderr=self._options.json, highlight=False, soft_wrap=True)
        for name, value in figures.items():
            out.print(f"{name:<18} {value}", markup=False)
        for problem in verdict.problems[:NAMED_MAX]:
            out.print(f"DOES NOT RECONCILE: {problem}", markup=False)
        more = len(verdict.problems) - NAMED_MAX
        if more > 0:
            out.print(f"… and {more} more")
        if not verdict.problems:
            out.print(RECONCILES)
        if self._options.json:
            print_json(figures, indent=False)

    def _stay(self) -> None:
        """Until Ctrl-C, while the whole log is proven now and again every hour."""
        self._stage.prove_now()
        self._display.say(AT_REST)
        try:
            while True:
                self._tick(AT_REST, begin=False)
        except KeyboardInterrupt:
            self._display.end()
            self._display.say("ending")


def _last_lines(text: str, lines: int = 5) -> str:
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:])
