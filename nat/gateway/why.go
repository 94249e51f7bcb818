package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Reason is what a packet did with one rule.
type Reason struct {
	Way       int           `json:"way"`            // of the Prediction, from 1
	Node      string        `json:"node,omitempty"` // where there are several
	Direction nat.Direction `json:"direction"`      // the packet's, or its answer's
	Hook      nat.Hook      `json:"hook"`           //
	Table     string        `json:"table"`          //
	Chain     string        `json:"chain"`          //
	Rule      int           `json:"rule"`           // from 1
	Line      int           `json:"line,omitempty"`
	Text      string        `json:"text"` // as iptables-save prints it
	Hit       bool          `json:"hit"`  // all its conditions held
	// Wanted is the first condition that failed, and Actual what the packet has instead.
	Wanted string `json:"wanted,omitempty"`
	Actual string `json:"actual,omitempty"`
	// Before is what kept the packet from coming to the rule.
	Before string `json:"before,omitempty"`
}

// String is the reason in one line.
func (r Reason) String() string {
	place := strings.TrimPrefix(fmt.Sprintf("%s %s %s:%d", r.Node, r.Table, r.Chain, r.Rule), " ")
	if r.Line > 0 {
		place += fmt.Sprintf(" (line %d)", r.Line)
	}
	switch {
	case r.Hit:
		return place + " was hit"
	case r.Before != "":
		return place + " was not reached: " + r.Before
	}
	return fmt.Sprintf("%s wants %s: %s", place, r.Wanted, r.Actual)
}

// Why tells for a rule, or for each rule of a chain, whether the packet met it in each way, and where not, which of its
// conditions failed first, or what kept the packet away. what is CHAIN, CHAIN:NUMBER, either behind "TABLE " or
// "TABLE:", or a rule's text as iptables-save prints it, and each of them may stand behind "NODE ". Of a network's nodes
// those count that the packet comes to, unless one is named. An error is what no rule set has.
func (x *Explanation) Why(what string) ([]Reason, error) {
	var out []Reason
	known := false
	for _, g := range x.nodes {
		if x.furnish != nil {
			if err := x.furnish(g); err != nil {
				return nil, fmt.Errorf("why %q: %w", what, err)
			}
		}
		rest, named := strings.CutPrefix(what, g.host.member+" ")
		native, there := x.whyNative(g, rest)
		out, known = append(out, native...), known || there
		for _, rs := range g.rules {
			for _, t := range rs.Tables {
				for _, c := range t.Chains {
					for i, r := range c.Rules {
						if asksFor(rest, t.Name, c.Name, i+1, r) {
							known = true
							out = append(out, x.whyRule(g, named, t, c, i)...)
						}
					}
				}
			}
		}
	}
	switch {
	case !known:
		return nil, fmt.Errorf("why %q: no rule set has such a rule, nor such a chain with rules: want CHAIN, CHAIN:NUMBER, TABLE:CHAIN or a rule's text, perhaps behind a node", what)
	case out == nil:
		return nil, fmt.Errorf("why %q: the packet comes to no node that has such a rule: name the node, \"NODE CHAIN\"", what)
	}
	return out, nil
}

func asksFor(what, table, chain string, number int, r iptables.Rule) bool {
	what = strings.TrimSpace(what)
	if strings.HasPrefix(what, "-A ") {
		return what == r.Text(chain)
	}
	if rest, ok := strings.CutPrefix(what, table); ok && rest != "" && (rest[0] == ' ' || rest[0] == ':') {
		what = strings.TrimSpace(rest[1:])
	}
	return what == chain || what == chain+":"+strconv.Itoa(number)
}

// whyRule looks at one rule in every way.
func (x *Explanation) whyRule(g *Gateway, named bool, t iptables.Table, c iptables.Chain, i int) (out []Reason) {
	for way := range x.Prediction {
		if !named && !slices.ContainsFunc(x.looks[way], func(l look) bool { return l.node == g.host.member }) && len(x.nodes) > 1 {
			continue
		}
		for _, l := range x.visits(g, way, t, c.Name) {
			r := l.reason(way, t.Name, c, i)
			if len(x.nodes) > 1 {
				r.Node = g.host.member
			}
			x.judge(&r, g, l, t, c, i)
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

func (l look) reason(way int, table string, c iptables.Chain, i int) Reason {
	r := Reason{Way: way + 1, Hook: l.hook, Table: table, Chain: c.Name, Rule: i + 1, Line: c.Rules[i].Line, Text: c.Rules[i].Text(c.Name)}
	if l.answer || l.reply {
		r.Direction = nat.Reply
	}
	return r
}

// visits are a way's looks at a table by hooks from which the chain can be called; where there is none, one that tells
// so.
func (x *Explanation) visits(g *Gateway, way int, t iptables.Table, chain string) (out []look) {
	var hooks []nat.Hook
	for _, h := range nat.Hooks() {
		if calls(t, h.String(), chain, map[string]bool{}) {
			hooks = append(hooks, h)
		}
	}
	for _, l := range x.looks[way] {
		if l.node == g.host.member && l.table == t.Name && slices.Contains(hooks, l.hook) {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		return []look{{hook: nat.PreRouting, table: ""}}
	}
	return out
}

// calls reports whether a chain leads to another one.
func calls(t iptables.Table, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	c, ok := t.Chain(from)
	if !ok || seen[from] {
		return false
	}
	seen[from] = true
	return slices.ContainsFunc(c.Rules, func(r iptables.Rule) bool {
		to2, ok := destination(r)
		return ok && calls(t, to2, to, seen)
	})
}

// destination is the chain that a rule jumps to.
func destination(r iptables.Rule) (chain string, ok bool) {
	switch t := r.Target.(type) {
	case xt.Jump:
		return t.Chain, true
	case xt.Goto:
		return t.Chain, true
	}
	return "", false
}

// judge fills in what the packet did with the rule.
func (x *Explanation) judge(r *Reason, g *Gateway, l look, t iptables.Table, c iptables.Chain, i int) {
	if l.table == "" && t.Name == tableNAT && !g.host.tracks {
		r.Before = "none of these rules makes the kernel track connections, so it does not ask the nat table: with one more, in any table, it would"
		return
	}
	if l.table == "" {
		r.Before = "the packet comes to no hook of the table that leads to " + c.Name
		if why := x.Prediction[r.Way-1].Why; why != "" {
			r.Before += ", or ended before: " + why
		}
		return
	}
	steps := x.steps(r.Way-1, l)
	if slices.ContainsFunc(steps, func(s nat.Step) bool { return s.Chain == c.Name && s.Rule == i+1 }) {
		r.Hit = true
		return
	}
	if before := g.notReached(l, t, c, i, steps, 0); before != "" {
		r.Before = before
		return
	}
	p := l.packet
	p.Mark = markBefore(steps, c.Name, i+1, p.Mark)
	if m, missed := c.Rules[i].Miss(l.hook, p, g.World()); missed {
		r.Wanted, r.Actual = m.Wanted, m.Actual
	}
}

// steps are the rules that were met at a look.
func (x *Explanation) steps(way int, l look) (out nat.Trace) {
	o := &x.Prediction[way]
	journey := o.Request.Steps
	if l.answer || l.reply {
		journey = o.Reply.Steps
	}
	for _, s := range journey {
		if s.Node == l.node && s.Hook == l.hook && s.Table == l.table {
			out = append(out, s)
		}
	}
	return out
}

// notReached is what kept a packet from coming to a rule: no rule led it into the chain, or an earlier one took it.
func (g *Gateway) notReached(l look, t iptables.Table, c iptables.Chain, i int, steps nat.Trace, depth int) string {
	if !entered(t, c, l.hook, steps) {
		return g.notCalled(l, t, c.Name, steps, depth)
	}
	for _, s := range steps {
		if s.Chain != c.Name || s.Rule == 0 || s.Rule > i {
			continue
		}
		switch s.Verdict {
		case nat.Continue, nat.Jump:
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen, nat.Return, nat.Goto:
			return fmt.Sprintf("%s:%d took the packet before: %s", s.Chain, s.Rule, s.Text)
		}
	}
	if last := steps[len(steps)-1]; last.Chain != c.Name && last.Rule != 0 { // a chain called before the rule ended the walk
		for _, s := range steps {
			if s.Chain == c.Name && s.Verdict == nat.Jump && s.Rule <= i && last.Verdict != nat.Return && last.Verdict != nat.Continue && last.Verdict != nat.Jump {
				return fmt.Sprintf("%s:%d took the packet before: %s", last.Chain, last.Rule, last.Text)
			}
		}
	}
	return ""
}

// entered reports whether a packet came into a chain.
func entered(t iptables.Table, c iptables.Chain, hook nat.Hook, steps nat.Trace) bool {
	if c.BuiltIn() {
		return c.Name == hook.String()
	}
	return slices.ContainsFunc(steps, func(s nat.Step) bool {
		if s.Verdict != nat.Jump && s.Verdict != nat.Goto || s.Rule == 0 {
			return false
		}
		from, _ := t.Chain(s.Chain)
		to, _ := destination(from.Rules[s.Rule-1])
		return to == c.Name
	})
}

// notCalled is why none of the rules that lead into a chain did; the one that came closest to it.
func (g *Gateway) notCalled(l look, t iptables.Table, chain string, steps nat.Trace, depth int) string {
	away := ""
	for _, c := range t.Chains {
		for i, r := range c.Rules {
			if to, ok := destination(r); !ok || to != chain || !calls(t, l.hook.String(), c.Name, map[string]bool{}) {
				continue
			}
			place := fmt.Sprintf("%s:%d", c.Name, i+1)
			before := ""
			if depth < 8 {
				before = g.notReached(l, t, c, i, steps, depth+1)
			}
			if before == "" {
				p := l.packet
				p.Mark = markBefore(steps, c.Name, i+1, p.Mark)
				if m, missed := r.Miss(l.hook, p, g.World()); missed {
					return fmt.Sprintf("%s, which leads to it, %s", place, m)
				}
				continue
			}
			away = cmp.Or(away, before)
		}
	}
	return cmp.Or(away, "no rule leads to "+chain)
}

// markBefore is the packet's mark as it comes to a rule.
func markBefore(steps nat.Trace, chain string, rule int, mark uint32) uint32 {
	for _, s := range steps {
		if s.Chain == chain && s.Rule >= rule {
			break
		}
		mark = s.Mark
	}
	return mark
}
