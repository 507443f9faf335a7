"""
Fail if what users install with the library has a known vulnerability.

Where nobody can be asked that is a warning, and no more: an index that is a mirror knows nothing of
vulnerabilities, and pip-audit takes its "not found" for "none found".
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 120


def main() -> str | None:
    """Run pip-audit; what there is to complain about."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner=off", "--timeout=10"]
    try:
        done = subprocess.run(
            [*command, "--format=json", str(ROOT)],
            capture_output=True,
            check=False,
            text=True,
            timeout=SECONDS,
        )
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return warn(f"no answer within {SECONDS} s")
    except ValueError:
        return warn((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    audited = [each for each in found if "skip_reason" not in each]
    bad = [each for each in audited if each["vulns"]]
    if bad:
        return "\n".join(
            f"{each['name']} {each['version']}: {', '.join(vuln['id'] for vuln in each['vulns'])}"
            for each in bad
        )
    if len(audited) < len(found) - 1:  # the library itself needn't be published
        return warn(f"of {len(found)} packages only {len(audited)} are known to the service")
    print(f"No known vulnerabilities in {len(audited)} packages.")
    return None


def warn(reason: str) -> None:
    """Say why it isn't known."""
    print(f"WARNING: vulnerabilities were not checked: {reason}")


if __name__ == "__main__":
    sys.exit(main())
