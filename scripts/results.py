"""Turns the JSON of scripts/results.sh into docs/results.md.

usage: results.py serves VERDICT | gateway STATE | page FOLDER MINUTES DELAY_MS
"""
import json
import pathlib
import sys


def load(path):
    return json.loads(pathlib.Path(path).read_text())


def percent(x):
    return "–" if x is None else f"{100 * x:.1f} %"


def share(part):
    """Agreement with its interval."""
    if not part or not part["agreement"]:
        return "–"
    mean, low, high = part["agreement"]
    return f"{100 * mean:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


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
                points = ", ".join(f"{100 * c:.0f} %: {100 * a:.1f} %" for c, a in curve["curve"])
                print(f"\n`{name}`, whatever its bar, mean {curve['mean_ms']:.0f} ms a call; agreement at coverage: {points or '–'}")
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


main()
