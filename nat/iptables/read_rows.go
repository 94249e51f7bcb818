package iptables

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// buildRows makes tables of rows. Those whose table is not told are put into one that all that are linked by chains fit.
func (r *reader) buildRows(u *unit) error {
	if err := r.tablesOf(u); err != nil {
		return err
	}
	policies := map[string]bool{} // "TABLE CHAIN"
	asked := map[string]*row{}
	for _, w := range u.rows {
		b := r.builder(u.family, w.table)
		if b == nil {
			b = newBuilder(w.table, u.family)
			b.excerpt = true
			r.builders = append(r.builders, b)
		}
		if err := r.addRow(b, w); err != nil {
			return err
		}
		verb, chain := w.verb()
		key := w.table + " " + chain
		switch {
		case verb == "-P":
			policies[key] = true
		case verb == "-A" && !w.command && b.excerpt && builtIn(w.table, chain) && asked[key] == nil:
			asked[key] = w
		}
	}
	for _, w := range u.rows {
		_, chain := w.verb()
		if key := w.table + " " + chain; asked[key] == w && !policies[key] {
			r.notes = append(r.notes, Note{w.number, fmt.Sprintf("the policy of chain %s of table %s is not in the text: taken for ACCEPT", chain, w.table)})
		}
	}
	return nil
}

// addRow carries a row out.
func (r *reader) addRow(b *builder, w *row) error {
	if w.listed != nil {
		return r.addListed(b, w)
	}
	c := w.cursor
	if err := b.run(&c); err != nil {
		return err
	}
	if w.packets > 0 || w.bytes > 0 {
		_, name := w.verb()
		chain, _ := b.use(name)
		chain.Packets, chain.Bytes = w.packets, w.bytes
	}
	return nil
}

// verb is a row's command and its chain.
func (w *row) verb() (verb, chain string) {
	for i, one := range w.words {
		if kind := short(one.text); len(kind) == 2 && strings.IndexByte(needChain+takeChain, kind[1]) >= 0 && i+1 < len(w.words) {
			return kind, w.words[i+1].text
		}
	}
	return "", ""
}

// target is the word behind a row's -j or -g.
func (w *row) target() string {
	for i, one := range w.words {
		if kind := short(one.text); (kind == "-j" || kind == "-g") && !one.quoted && i+1 < len(w.words) {
			return w.words[i+1].text
		}
	}
	return ""
}

// extensions are those that a row names.
func (w *row) extensions(f nat.Family) (out []*xt.Extension) {
	kinds := map[string]xt.Kind{"-j": xt.TargetKind, "-m": xt.MatchKind}
	for i, one := range w.words {
		kind, ok := kinds[short(one.text)]
		if !ok || one.quoted || i+1 == len(w.words) {
			continue
		}
		if x, known := xt.Find(w.words[i+1].text, kind, f); known {
			out = append(out, x)
		}
	}
	return out
}

// tablesOf finds the table of each row that tells none.
func (r *reader) tablesOf(u *unit) error {
	var open []*row
	for _, w := range u.rows {
		if w.table == "" {
			open = append(open, w)
		}
	}
	for len(open) > 0 {
		linked, rest := linkedRows(open, r.printsPolicies(open))
		table, reason := tableOf(linked, u.family)
		if table == "" {
			return &SyntaxError{linked[0].number, 1, reason}
		}
		if reason != "" {
			r.notes = append(r.notes, Note{linked[0].number, reason})
		}
		for _, w := range linked {
			w.table = table
		}
		open = rest
	}
	return nil
}

// printsPolicies reports whether the rows are what iptables -S prints of a table: it begins with policies.
func (r *reader) printsPolicies(rows []*row) bool {
	verb, _ := rows[0].verb()
	return verb == "-P"
}

// linkedRows are the rows that are of one table with the first: all of them, or those that its chains lead to.
func linkedRows(rows []*row, all bool) (linked, rest []*row) {
	if all {
		return rows, nil
	}
	chains := map[string]bool{}
	own := func(chain string) bool { _, builtIn := nat.HookOf(chain); return !builtIn && chain != "" }
	of := func(w *row) (names []string) {
		if _, chain := w.verb(); own(chain) {
			names = append(names, chain)
		}
		if t := w.target(); own(t) && !isTarget(t, nat.IPv4) && !isTarget(t, nat.IPv6) {
			names = append(names, t)
		}
		return names
	}
	linked, rest = rows[:1:1], rows[1:]
	for found := true; found; {
		found = false
		for _, w := range linked {
			for _, name := range of(w) {
				chains[name] = true
			}
		}
		var left []*row
		for _, w := range rest {
			if slices.ContainsFunc(of(w), func(name string) bool { return chains[name] }) {
				linked, found = append(linked, w), true
			} else {
				left = append(left, w)
			}
		}
		rest = left
	}
	slices.SortStableFunc(linked, func(a, b *row) int { return a.number - b.number })
	return linked, rest
}

// tablesByLikelihood are the tables as people post them.
var tablesByLikelihood = []string{"filter", "nat", "mangle", "raw", "security"}

// tableOf is the table that rows fit. Where several do, the reason tells that one was taken; "" with the reason where none
// does.
func tableOf(rows []*row, family nat.Family) (table, reason string) {
	fit := slices.Clone(tablesByLikelihood)
	var policies []string
	var hooks []string
	for _, w := range rows {
		verb, chain := w.verb()
		if _, ok := nat.HookOf(chain); ok {
			fit = slices.DeleteFunc(fit, func(t string) bool { return !builtIn(t, chain) })
			if hooks = append(hooks, chain); verb == "-P" {
				policies = append(policies, chain)
			}
		}
		for _, x := range w.extensions(family) {
			fit = slices.DeleteFunc(fit, func(t string) bool { return !x.Native && len(x.Tables) > 0 && !slices.Contains(x.Tables, t) })
		}
		if len(fit) == 0 {
			return "", fmt.Sprintf("the rules up to line %d fit no table: want -t TABLE in a command above them, or what iptables-save prints", w.number)
		}
	}
	if len(policies) > 0 { // iptables -S prints all of a table's
		exact := slices.DeleteFunc(slices.Clone(fit), func(t string) bool { return len(nat.TableHooks(t)) != len(policies) })
		if len(exact) > 0 {
			return exact[0], "" // filter goes before security
		}
	}
	if len(fit) == 1 {
		return fit[0], ""
	}
	what := "these rules"
	if len(hooks) > 0 {
		what = "chain " + hooks[0]
	}
	return fit[0], fmt.Sprintf("the table of %s is not in the text (%s): taken for %s", what, strings.Join(fit, ", "), fit[0])
}
