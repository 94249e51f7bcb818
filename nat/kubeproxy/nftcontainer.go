package kubeproxy

import (
	"slices"
	"strings"

	nft "natlab/nat/nftables"
)

// container is one of the sets and maps that all Services share, as kube-proxy remembers its elements (nftElementStorage).
type container struct {
	name     string
	elements map[string]kept // by nft.KeyOf
	sync     int             // which sync it is
}

// kept is an element that is there.
type kept struct {
	*nft.Element
	sync int // when a Service called for it last
}

func newContainer(name string) *container {
	return &container{name: name, elements: map[string]kept{}}
}

// read takes over the elements that are there, in place of those that it remembers; s is nil where there is no such set.
func (c *container) read(s *nft.Set) {
	clear(c.elements)
	if s == nil {
		return
	}
	for i := range s.Elements {
		c.elements[nft.KeyOf(s.Elements[i].Key)] = kept{&s.Elements[i], c.sync}
	}
	c.begin()
}

// begin begins a sync: nothing is called for yet.
func (c *container) begin() { c.sync++ }

// ensure adds an element that is not there, or has another verdict, to the commands.
func (c *container) ensure(commands []Command, e *nft.Element) []Command {
	key := nft.KeyOf(e.Key)
	was, there := c.elements[key]
	c.elements[key] = kept{e, c.sync}
	switch {
	case there && verdictOf(was.Element) == verdictOf(e):
		return commands
	case there:
		commands = append(commands, Command{Verb: Delete, In: c.name, Element: e, key: key})
	}
	return append(commands, Command{In: c.name, Element: e, key: key})
}

// leftovers deletes what nobody called for, in the order of the keys.
func (c *container) leftovers() []Command {
	var out []Command
	for key, k := range c.elements {
		if k.sync != c.sync {
			out = append(out, Command{Verb: Delete, In: c.name, Element: &nft.Element{Key: k.Key}, key: key})
			delete(c.elements, key)
		}
	}
	slices.SortFunc(out, func(a, b Command) int { return strings.Compare(keyText(a.Element), keyText(b.Element)) })
	return out
}

// verdictOf is what an element of a verdict map has for its key.
func verdictOf(e *nft.Element) nft.Verdict {
	if e.Verdict != nil {
		return *e.Verdict
	}
	return nft.Verdict{}
}
