"""Turns the JSON of scripts/results.sh into docs/results.md.

usage: results.py serves VERDICT | gateway STATE | page FOLDER MINUTES DELAY_MS
       results.py check VERDICT | curve AGENT N=VERDICT… | shares VERDICT | folds VERDICT… | shift VERDICT
"""
import collections
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "deploy" / "specialise"))
from understudy_specialise.interval import clopper_pearson  # noqa: E402

TARGET = 0.95  # agreement
KEPT = "<!-- What follows is put here by hand, from commands of its own; `make results` keeps it. -->"


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def percent(x):
    return "–" if x is None else f"{100 * x:.1f} %"


def interval(mean, low, high):
    return f"{100 * mean:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def share(part):
    """Agreement with its interval."""
    return interval(*part["agreement"]) if part and part["agreement"] else "–"


KINDS = ("head", "prompted", "specialised")


def latest(understudies):
    """The newest version of each kind."""
    return {c["kind"]: c for c in sorted(understudies.values(), key=lambda c: c["born_seq"])}


def reach(c):
    """What a version does when it answers all, and how much of that meets the target."""
    if not c or not c["curve"]:
        return "–"
    reached = max((coverage for coverage, mean, *_ in c["curve"] if mean >= TARGET), default=0)
    whole = next((f"{100 * mean:.1f} % of all" for coverage, mean, *_ in c["curve"] if coverage == 1), "declines some")
    return f"{whole}; ≥ {100 * TARGET:.0f} % at {100 * reached:.0f} %" if reached else whole


def summary(verdicts):
    """One row a task: everyone who could have answered, on the same rows."""
    print("Agreement on `test` rows, coverage beside it; of each kind the newest version (of prompted ones that do not serve, on 150 of the rows). Only the last column is served.\n")
    print("| agent | exact repeat | nearest neighbour | " + " | ".join(KINDS) + " | **the cast, at frozen bars** |\n|" + " --- |" * (4 + len(KINDS)))
    for agent, verdict in verdicts:
        for m in verdict["held_out"] or []:
            plain = [f"{100 * b['agreement'][0]:.1f} % of {percent(b['coverage'])}" if b and b["agreement"] else "–"
                     for b in (m["baselines"].get(name) for name in ("exact repeat", "nearest neighbour"))]
            kinds = latest(m["understudies"])
            served = f"{share(m['served'])} of {percent(m['served']['coverage'])}" if m["served"]["taken"] else "nothing"
            print(f"| {agent} | " + " | ".join(plain + [reach(kinds.get(k)) for k in KINDS] + [f"**{served}**"]) + " |")
    print()


def page(folder, minutes, delay):
    print("# Results on recorded real traffic\n")
    print(f"Made by `make results` (here with a budget of {minutes} minutes of rehearsal an agent, on two CPU cores "
          "without a GPU). `train` rows are rehearsed in line order as one credential; then examples, bars and ledgers "
          "are frozen and the `test` rows measure them: in memory, nothing appended, and again through the real proxy, "
          "which records those calls in the same state folder with its worker frozen. "
          "Approval of tools that act is taken as given. Agreement is fidelity to the recorded provider, call by call, "
          "and not the success of the errand. Agreement and its two-sided 95 % interval are by conversation "
          "(Clopper-Pearson where each is wholly right or wrong, else the betting interval); coverage is over eligible "
          "calls outside the control group. Recorded histories are the provider's, so tasks of several turns can reach "
          "at most an opened canary.\n")
    paths = sorted(pathlib.Path(folder).glob("*.rehearsal.json"))
    verdicts = [(path.name.removesuffix(".rehearsal.json"), load(path)) for path in paths]
    summary(verdicts)
    for path, (agent, verdict) in zip(paths, verdicts):
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
            agreeing = share(r) if "agreement" in r else percent(agreed / served if served else None)
            # The proxy has the rehearsal's key, so its control group is the same.
            outside = sum(m["by_mark"].get("not novel", {"of": 0})["of"] for m in verdict["held_out"] or [])
            of_these = f"; {percent(served / outside)} of those outside it" if outside else ""
            print(f"\nThrough the real proxy, the provider playing the recorded replies after {delay} ms: {r['calls']} "
                  f"calls, {r['failed']} failed; served {served} of {of} "
                  f"({percent(served / max(of, 1))} of all, the control group among them{of_these}), agreeing {agreeing}; "
                  f"wrongly served {r['wrongly_served']}"
                  + (f"; of {nof} novel ones {nserved} taken ({percent(nserved / nof)})" if nof else "")
                  + ". p50: " + ", ".join(f"{k} {v:.1f} ms" for k, v in r["p50_ms"].items() if v) + ".")
        else:
            print("\nNothing was earned, so nothing is served: 0 wrongly served.")
        print()
    print(kept())


def kept():
    """What the page has beside the agents: curves, shift, folds and the mixed stream,
    each of a command of its own."""
    page = pathlib.Path("docs/results.md")
    _, mark, rest = (page.read_text() if page.exists() else "").partition(KEPT)
    return mark + rest.rstrip()


def shift(path):
    """Whether what was never seen is kept at the provider."""
    for m in load(path)["held_out"] or []:
        all_novel = {a["call"] for a in m["asked"] if a["marks"].get("novel") == "true"}
        print(f"\n{m['name']}: {m['served']['taken']} of {m['calls']} test rows served, {share(m['served'])}; "
              f"of {len(all_novel)} novel ones {m['by_mark'].get('novel=true', {}).get('taken', 0)} taken.\n")
        print("| understudy | bar at a coverage of the others of | agreeing of those | novel ones above it |\n| --- | --- | --- | --- |")
        for kind, c in sorted(latest(m["understudies"]).items()):
            novel = all_novel & {*c["declined"], *(a["call"] for a in c["answers"])}  # those it was asked
            known = [a for a in c["answers"] if a["call"] not in novel]  # the surest first
            for coverage in (0.8, 0.6, 0.4):
                top = known[: round(coverage * len(known))]
                if top and novel:
                    above = sum(a["call"] in novel and a["confidence"] >= top[-1]["confidence"] for a in c["answers"])
                    print(f"| {kind} | {percent(coverage)} | {percent(sum(a['agrees'] for a in top) / len(top))} | {above} of {len(novel)} ({percent(above / len(novel))}) |")


LEAST = 20  # answers above a bar, for it to be one


def bar(answers):
    """The lowest confidence above which the target is met, or none."""
    agreed, found = 0, float("inf")
    ordered = sorted(answers, reverse=True)
    for n, (confidence, agrees) in enumerate(ordered, 1):
        agreed += agrees
        tied = n < len(ordered) and ordered[n][0] == confidence
        if not tied and n >= LEAST and agreed >= TARGET * n:
            found = confidence
    return found


def by_conversation(answers):
    """The share of answers that agree, of each (conversation, agrees), with the interval of the mean over conversations."""
    each = collections.defaultdict(list)
    for conversation, agrees in answers:
        each[conversation].append(agrees)
    if not each:
        return "–"
    low, high = clopper_pearson(sum(sum(of) / len(of) for of in each.values()), len(each))
    agreed = sum(agrees for _, agrees in answers)
    return f"{percent(agreed / len(answers))} ({agreed} of {len(answers)}; {100 * low:.1f}–{100 * high:.1f} over {len(each)} conversations)"


Judged = collections.namedtuple("Judged", "fold conversation did acts solved kind answer")
Judged.__doc__ = "A call that an understudy was asked: what the provider did, and the answer, None where it declined."


def judged(verdicts):
    """Every call of every fold, by each kind's newest version that was asked it."""
    for number, path in enumerate(verdicts):
        for m in load(path)["held_out"] or []:
            for kind, c in latest(m["understudies"]).items():
                answers = {**dict.fromkeys(c["declined"]), **{a["call"]: a for a in c["answers"]}}
                for asked in m["asked"]:
                    # The others: only a sample was asked, or the time was over.
                    if asked["call"] in answers:
                        yield Judged(number, asked.get("conversation", asked["call"]), ", ".join(asked["tools"]) or "text", asked["acts"], asked["marks"].get("solved"),
                                     kind, answers[asked["call"]])


def folds(*verdicts):
    """What may be served of each tool's calls and of text, every call judged by
    a model and by bars that never saw its errand."""
    rows = list(judged(verdicts))
    agrees = lambda r: bool(r.answer and r.answer["agrees"])
    for kind in sorted({r.kind for r in rows}):
        own = [r for r in rows if r.kind == kind]
        answered = [r for r in own if r.answer]
        bars = {(n, s): bar([(r.answer["confidence"], agrees(r)) for r in answered if r.answer["stratum"] == s and r.fold != n])
                for n in range(len(verdicts)) for s in {r.answer["stratum"] for r in answered}}
        taken = lambda r: r.answer and r.answer["confidence"] >= bars[r.fold, r.answer["stratum"]]

        def line(name, part):
            served = [r for r in part if taken(r)]
            said = [r for r in part if r.answer]
            print(f"| {name} | {len(part)} | {len(said)} | {by_conversation([(r.conversation, agrees(r)) for r in said])} | "
                  f"{percent(len(served) / len(part))} | {by_conversation([(r.conversation, agrees(r)) for r in served])} |")

        print(f"\n`{kind}`, bars set on the other folds for {100 * TARGET:.0f} % agreement of each tool that it chooses:\n")
        print("| what the provider did | calls | answered | agreeing of those answered | served | agreeing of those served |\n| --- | --- | --- | --- | --- | --- |")
        names = sorted(sorted({(r.did, r.acts) for r in own}), key=lambda n: -sum(r.did == n[0] for r in own))
        for name, acts in names:
            line(f"{name}{' (writes)' if acts else ''}", [r for r in own if r.did == name])
        parts = {
            "all look-ups": [r for r in own if r.did != "text" and not r.acts],
            "all that write": [r for r in own if r.acts],
            "all text": [r for r in own if r.did == "text"],
            "errands solved": [r for r in own if r.solved == "true"],
            "errands not solved": [r for r in own if r.solved == "false"],
            "all": own,
        }
        for what, part in parts.items():
            if part:
                line(f"**{what}**", part)


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
            served = f"{n if n != 'all' else verdict['read']} | {stages.get(m['name'], '–')} | {percent(m['served']['coverage'])} | {share(m['served'])}"
            for kind, c in sorted(latest(m["understudies"]).items()) or [("none yet", None)]:
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
    total, served, tested, taken = ([0, 0, 0.0] for _ in range(4))
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
            for i, each in enumerate((1, tokens, usd)):
                tested[i] += m["calls"] * each
                taken[i] += m["served"]["taken"] * each
    engine = verdict["seconds"] / 3600 * CORES * CORE_HOUR_USD
    shares = lambda part, whole: "{} of the calls, {} of the tokens, {} of the money".format(*(percent(a / b if b else None) for a, b in zip(part, whole)))
    print(f"\nServed on the way, audits not counted: {shares(served, total)} "
          f"({served[2]:.2f} of {total[2]:.2f} dollars). Shadows and training took {verdict['seconds'] / 60:.0f} minutes of {CORES} cores, "
          f"{engine:.2f} dollars at {CORE_HOUR_USD} a core hour: net {served[2] - engine:.2f}.")
    if tested[0]:
        print(f"Of the test rows, when everything is frozen: {shares(taken, tested)}.")
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


def serves(verdict):
    sys.exit(0 if any(r["stage"] in ("live", "canary") for r in load(verdict)["tasks"]) else 1)


def gateway(state):
    print(f"http://{load(next(pathlib.Path(state).glob('running*.json')))['gateway']}")


COMMANDS = {f.__name__: f for f in (serves, gateway, page, curve, check, shares, folds, shift)}

if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    COMMANDS[what](*rest)
