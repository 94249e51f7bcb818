package iptables

import (
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/nat/xt"
)

// order are the chains that packets come to, each behind those that lead to it. Rules by which a packet comes back to a chain
// that it is in are refused: the kernel does so (mark_source_chains, nft_chain_validate).
func (b *builder) order() (order []int, err error) {
	const fresh, within, done = 0, 1, 2
	state := make([]uint8, len(b.table.Chains))
	var walk func(at int) error
	walk = func(at int) error {
		state[at] = within
		for _, r := range b.table.Chains[at].Rules {
			to, ok := chainOf(r.Target)
			if !ok {
				continue
			}
			switch next := b.chains[to]; state[next] {
			case within:
				return &SyntaxError{max(r.Line, 1), 1, fmt.Sprintf("chains %s and %s of table %s lead to each other: the kernel refuses a loop",
					b.table.Chains[at].Name, to, b.table.Name)}
			case fresh:
				if err := walk(next); err != nil {
					return err
				}
			}
		}
		state[at] = done
		order = append(order, at)
		return nil
	}
	for i, c := range b.table.Chains {
		if c.BuiltIn() && state[i] == fresh {
			if err := walk(i); err != nil {
				return nil, err
			}
		}
	}
	slices.Reverse(order)
	return order, nil
}

// misplaced refuses rules with extensions that are not for this table, or not for the hooks that lead to the rule's chain.
// Chains to which no packet comes are asked for the table alone.
func (b *builder) misplaced(order []int) error {
	from := make([]xt.Hooks, len(b.table.Chains))
	reached := make([]bool, len(b.table.Chains))
	for _, at := range order {
		reached[at] = true
	}
	for at, c := range b.table.Chains {
		if h, ok := nat.HookOf(c.Name); ok {
			from[at] = xt.HooksOf(h)
		}
		if !reached[at] {
			order = append(order, at)
		}
	}
	for _, at := range order {
		for _, r := range b.table.Chains[at].Rules {
			to, leads := chainOf(r.Target)
			if leads {
				from[b.chains[to]] |= from[at]
			}
			for _, m := range r.Matches {
				if why := xt.Misplaced(m, b.family, b.table.Name, from[at]); why != "" {
					return &SyntaxError{max(r.Line, 1), 1, why + ": the kernel refuses the rule"}
				}
			}
			if r.Target == nil || leads {
				continue
			}
			if why := xt.Misplaced(r.Target, b.family, b.table.Name, from[at]); why != "" {
				return &SyntaxError{max(r.Line, 1), 1, why + ": the kernel refuses the rule"}
			}
		}
	}
	return nil
}
