package report

import "natlab/nat"

// brief is a rule in few words: what it did with the packet, and what it asked of it.
func brief(s nat.Step) (target, match string) {
	switch {
	case s.Rule == 0 && s.Action == "":
		return "policy " + s.Verdict.String(), ""
	case s.Action == "":
		return s.Verdict.String(), s.Brief
	case s.Element != "":
		return "vmap " + s.Element, s.Brief
	case s.Verdict == nat.Jump || s.Verdict == nat.Goto:
		return "→ " + s.Target, s.Brief
	}
	return s.Action, s.Brief
}
