package iptables

import (
	"sync"

	"natlab/nat"
)

// partedFrom is how many chains a table has that is not compiled at once: of the chains of thousands of Services most are never asked for.
const partedFrom = 512

// manyParts is which share of its parts, one in so many, makes a table one that packets come to all over: its chains are put beside one another
// then, where the processor's caches find them sooner.
const manyParts = 8

// part is a chain of a large table, with all that it calls, compiled when a packet first comes to it.
type part struct {
	once  sync.Once
	chain int // in source
	of    *Compiled
}

// part is the number of a chain's part.
func (w *compiler) part(chain int) uint32 {
	n, known := w.parted[chain]
	if !known {
		n = uint32(len(w.parted))
		w.parted[chain] = n
	}
	return n
}

// parts makes room for the parts that rules call.
func (w *compiler) parts() []part {
	out := make([]part, len(w.parted))
	for chain, n := range w.parted {
		out[n].chain = chain
	}
	return out
}

// compiled is the part's instructions, of which the chain is the first. Hits name chains by their places in the whole table.
func (p *part) compiled(whole *Compiled) *Compiled {
	p.once.Do(func() {
		w := newCompiler(&Compiled{name: whole.name, source: whole.source}, whole.chains)
		w.chains(p.chain)
		w.link()
		p.of = w.out
		if int(whole.met.Add(1)) == len(whole.parts)/manyParts+1 {
			full := &Compiled{name: whole.name, source: whole.source, chains: whole.chains, remembers: whole.remembers}
			full.compile(false)
			whole.full.Store(full)
		}
	})
	return p.of
}

// part carries a rule out that matched and calls a part.
func (r *compiledRun) part(chain *instruction, number uint32, rule *instruction, depth int) (v nat.Verdict, done bool) {
	leads, whole := nat.Verdict(rule.low), r.table
	r.hit(chain, number, leads)
	r.table = whole.parts[rule.high].compiled(whole)
	v = r.chain(1, depth+1)
	r.table = whole
	return v, leads == nat.Goto || v != nat.Continue
}
