package proof

// Culprit is one thing that is wrong, with the flows that it breaks.
type Culprit struct {
	Node     string
	WantRule string // the rule that belongs there; "" where none does
	LiveRule string // the rule that is there instead; "" where none is
	Why      string
	Fault    Fault
	Flows    int    // certificates that name it
	First    string // the first of them
}

// Culprits groups the flows that are not proved by what is to blame, in the order of the report. A flow that names no
// rule is grouped by its words.
func (r Report) Culprits() []Culprit {
	var out []Culprit
	at := map[Culprit]int{}
	for _, c := range r.Flows {
		if c.Verdict == Proved || c.Wrong == nil {
			continue
		}
		w := c.Wrong
		k := Culprit{Node: w.Node, WantRule: w.WantRule, LiveRule: w.LiveRule, Why: w.Why, Fault: w.Fault}
		if k.Why == "" && k.WantRule == "" && k.LiveRule == "" {
			k.Why = "want " + w.Want + ", got " + w.Got
		}
		i, known := at[k]
		if !known {
			i = len(out)
			at[k] = i
			out = append(out, k)
			out[i].First = c.Name
		}
		out[i].Flows++
	}
	return out
}
