"""Turns the JSON of scripts/results.sh into docs/results.md.

usage: results.py serves VERDICT | gateway STATE | page FOLDER MINUTES DELAY_MS
       results.py first N FILE FOLDER [OTHERS] | check VERDICT | curve AGENT N=VERDICT… | shares VERDICT
"""
import json
import pathlib
import sys


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def percent(x):
    return "–" if x is None else f"{100 * x:.1f} %"


def interval(mean, low, high):
    return f"{100 * mean:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def share(part):
    """Agreement with its interval."""
    return interval(*part["agreement"]) if part and part["agreement"] else "–"


def page(folder, minutes, delay):
    print("# Results on recorded real traffic\n")
    print(f"Made by `make results` (here with a budget of {minutes} minutes of rehearsal an agent, on two CPU cores "
          "without a GPU). `train` rows are rehearsed in line order as one credential; then examples, bars and ledgers "
          "are frozen and the `test` rows measure them, in a journal of their own and again through the real proxy. "
          "Approval of tools that act is taken as given. Agreement is fidelity to the recorded provider, call by call, "
          "and not the success of the errand. Intervals are two-sided 95 % Clopper-Pearson; coverage is over eligible "
          "calls outside the control group. Recorded histories are the provider's, so tasks of several turns can reach "
          "at most an opened canary.\n")
    for path in sorted(pathlib.Path(folder).glob("*.rehearsal.json")):
        agent = path.name.removesuffix(".rehearsal.json")
        verdict = load(path)
        print(f"## {agent}\n")
        left = f", {verdict['left']} left when the time was over" if verdict["left"] else ""
        print(f"{verdict['read']} calls rehearsed in {verdict['seconds'] / 60:.1f} minutes{left}.\n")
        for row in verdict["tasks"]:
            step = f" (step {row['step'][0]} of {row['step'][1]})" if row["step"] else ""
            print(f"- `{row['name']}`: stage **{row['stage']}**{step}, {row['calls']} calls, {row['repeats']} repeats, "
                  f"entry's coverage {percent(row['coverage'])}"
                  + (f", its agreement {percent(row['agreement']['mean'])}" if row["agreement"] else "")
                  + (f"; waits for {row['waits_for']}" if row["waits_for"] else ""))
        print()
        for d in verdict["decisions"]:
            print(f"  - call {d['seq']}: {d['from']} → {d['to']}, {d['why']}")
        for m in verdict["held_out"] or []:
            print(f"\nTest rows of `{m['name']}`: {m['calls']} calls, {m['eligible']} eligible, {m['control']} control.\n")
            print("| what | calls | coverage | agreement |\n| --- | --- | --- | --- |")
            print(f"| served at the frozen bar | {m['served']['of']} | {percent(m['served']['coverage'])} | {share(m['served'])} |")
            for mark, part in m["by_mark"].items():
                if len(m["by_mark"]) <= 12:
                    print(f"| served, {mark} | {part['of']} | {percent(part['coverage'])} | {share(part)} |")
            for name, part in m["baselines"].items():
                print(f"| baseline, never served: {name} | {part['of']} | {percent(part['coverage'])} | {share(part)} |")
            for name, curve in m["understudies"].items():
                points = ", ".join(f"{100 * c:.0f} %: {interval(*agreement)}" for c, *agreement in curve["curve"])
                print(f"\n`{name}`, whatever its bar, asked {curve['asked']} calls, mean {curve['mean_ms']:.0f} ms; agreement at coverage: {points or '–'}")
            strata = sorted(m["by_stratum"].items(), key=lambda s: -s[1]["of"])
            if 1 < len(strata):
                print("\n<details><summary>By stratum (what the understudy chose)</summary>\n")
                print("| stratum | calls | taken | agreeing |\n| --- | --- | --- | --- |")
                for name, part in strata:
                    print(f"| {name.replace('|', '/')[:60]} | {part['of']} | {part['taken']} | {part['agreed']} |")
                print("\n</details>")
        live = path.with_name(f"{agent}.live.json")
        if live.exists() and live.stat().st_size:
            r = load(live)
            of, served, agreed = r["known"]
            nof, nserved, _ = r["novel"]
            print(f"\nThrough the real proxy, the provider playing the recorded replies after {delay} ms: {r['calls']} "
                  f"calls, {r['failed']} failed; served {served} of {of} "
                  f"({percent(served / max(of, 1))} of all, the control group among them), agreeing {percent(agreed / served if served else None)}; "
                  f"wrongly served {r['wrongly_served']}"
                  + (f"; of {nof} novel ones {nserved} taken ({percent(nserved / nof)})" if nof else "")
                  + ". p50: " + ", ".join(f"{k} {v:.1f} ms" for k, v in r["p50_ms"].items() if v) + ".")
        else:
            print("\nNothing was earned, so nothing is served: 0 wrongly served.")
        print()


def first(n, file, folder, others="all"):
    """The first n train rows and so many others, as a file of the same name,
    beside the agent's description."""
    agent = pathlib.Path(file).name.split(".")[0] + ".agent.json"
    (pathlib.Path(folder) / agent).write_text(pathlib.Path(file).with_name(agent).read_text())
    left = {kind: float("inf") if most == "all" else int(most) for kind, most in ((True, n), (False, others))}
    with open(file) as lines, open(pathlib.Path(folder) / pathlib.Path(file).name, "w") as out:
        for line in lines:
            train = json.loads(line).get("split") == "train"
            left[train] -= 1
            if left[train] >= 0:
                out.write(line)


def at(curve, coverage):
    for c, *agreement in curve["curve"] if curve else ():
        if abs(c - coverage) < 1e-9:
            return interval(*agreement)
    return "–"


def curve(agent, *verdicts):
    """A row for each number of recorded calls, the latest version of each kind."""
    print(f"| calls of `{agent}` recorded | stage | served together: coverage | its agreement | understudy | "
          "all answered | surest 80 % | surest 60 % |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for verdict in verdicts:
        n, _, path = verdict.partition("=")
        verdict = load(path)
        stages = {row["name"]: row["stage"] for row in verdict["tasks"]}
        for m in verdict["held_out"] or []:
            latest = {}
            for c in sorted(m["understudies"].values(), key=lambda c: c["born_seq"]):
                latest[c["kind"]] = c
            served = f"{n if n != 'all' else verdict['read']} | {stages.get(m['name'], '–')} | {percent(m['served']['coverage'])} | {share(m['served'])}"
            for kind, c in sorted(latest.items()) or [("none yet", None)]:
                print(f"| {served} | {kind} | {at(c, 1.0)} | {at(c, 0.8)} | {at(c, 0.6)} |")


CORE_HOUR_USD = 0.04  # what a core of a cloud machine costs an hour, about
CORES = 2


def shares(path):
    """What of a stream is served, by call, token and money, net of what it cost.
    Recorded replies carry no token counts: four characters are one token."""
    verdict = load(path)
    paid = {row["task"]: row for row in verdict["savings"]["tasks"]}
    held = {m["name"]: m for m in verdict["held_out"] or []}
    print("| task | stage | calls | served on the way | of its test rows | tokens a call |\n| --- | --- | --- | --- | --- | --- |")
    total, served, tested = [0, 0, 0.0], [0, 0, 0.0], [0, 0, 0.0, 0.0]
    for report in verdict["reports"]:
        tally, row = report["tally"], paid[report["task"]]
        stage = next(r["stage"] for r in verdict["tasks"] if r["id"] == report["task"])
        tokens = (tally["tokens"][0] + tally["tokens"][2]) / max(tally["paid"], 1)
        usd = (row["paid_usd"] or 0) / max(tally["paid"], 1)
        m = held.get(report["name"])
        coverage = m["served"]["taken"] / max(m["calls"], 1) if m else None
        print(f"| {report['name']} | {stage} | {tally['calls']} | {percent(tally['served'] / max(tally['calls'], 1))} | {percent(coverage)} | {tokens:.0f} |")
        for sums, n in ((total, tally["calls"]), (served, tally["calls"] - tally["paid"])):
            for i, each in enumerate((1, tokens, usd)):
                sums[i] += n * each
        if m:
            for i, each in enumerate((1, tokens)):
                tested[i] += m["calls"] * each
                tested[i + 2] += m["served"]["taken"] * each
    engine = verdict["seconds"] / 3600 * CORES * CORE_HOUR_USD
    part = lambda i: percent(served[i] / total[i] if total[i] else None)
    print(f"\nServed on the way, audits not counted: {part(0)} of the calls, {part(1)} of the tokens, {part(2)} of the money "
          f"({served[2]:.2f} of {total[2]:.2f} dollars). Shadows and training took {verdict['seconds'] / 60:.0f} minutes of {CORES} cores, "
          f"{engine:.2f} dollars at {CORE_HOUR_USD} a core hour: net {served[2] - engine:.2f}.")
    if tested[0]:
        print(f"Of the test rows, when everything is frozen: {percent(tested[2] / tested[0])} of the calls, {percent(tested[3] / tested[1])} of the tokens.")
    print("The paper estimates 40, 60 and 70 % of three agents' calls.")


def check(path):
    """What a verdict must keep, or an exit with the reason."""
    verdict = load(path)
    held = {m["name"]: m for m in verdict["held_out"]}
    stages = {row["name"]: row["stage"] for row in verdict["tasks"]}
    reasoning = next(name for name in stages if "tutor" in name)
    routine = next(name for name in stages if name != reasoning)
    served, kept = held[routine]["served"], held[reasoning]["served"]
    if stages[reasoning] not in ("observing", "shadowing") or kept["taken"]:
        sys.exit(f"{reasoning}: open reasoning left the provider")
    if stages[routine] not in ("canary", "live") or not served["taken"]:
        sys.exit(f"{routine}: has not earned a call")
    # The upper end: a bound that the rows refute is broken, one that they leave open is not.
    if served["agreement"][2] < 0.95:
        sys.exit(f"{routine}: {share(served)} of what is taken agrees, 95 % was promised")
    print(f"{routine} is {stages[routine]}, {share(served)} of the {served['taken']} test rows taken agree; {reasoning} stays with the provider")


def main():
    what, *rest = sys.argv[1:]
    if what == "serves":
        rows = load(rest[0])["tasks"]
        sys.exit(0 if any(r["stage"] in ("live", "canary") for r in rows) else 1)
    if what == "gateway":
        running = load(next(pathlib.Path(rest[0]).glob("running*.json")))
        print(f"http://{running['gateway']}")
    if what == "page":
        page(*rest)
    if what == "first":
        first(*rest)
    if what == "curve":
        curve(*rest)
    if what == "check":
        check(*rest)
    if what == "shares":
        shares(*rest)


main()
