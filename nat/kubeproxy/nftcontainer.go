package kubeproxy

import (
	"maps"
	"slices"

	nft "natlab/nat/nftables"
)

// container is one of the sets and maps that all Services share, as kube-proxy remembers its elements (nftElementStorage).
type container struct {
	name     string
	elements map[string]string      // the verdict, by key
	left     map[string]nft.Element // that no Service has called for yet in this sync
	keys     map[string]nft.Element // the elements with their keys alone
}

func newContainer(name string) *container {
	c := &container{name: name}
	c.forget()
	return c
}

// forget takes it that there is none.
func (c *container) forget() {
	c.elements, c.left, c.keys = map[string]string{}, map[string]nft.Element{}, map[string]nft.Element{}
}

// read takes over the elements that are there, in place of those that it remembers; s is nil where there is no such set.
func (c *container) read(s *nft.Set) {
	c.forget()
	if s == nil {
		return
	}
	for i := range s.Elements {
		c.note(&s.Elements[i])
	}
	c.begin()
}

func (c *container) note(e *nft.Element) {
	key := keyOf(e)
	c.elements[key], c.keys[key] = valueOf(e), nft.Element{Key: e.Key}
}

// begin begins a sync: nothing is called for yet.
func (c *container) begin() {
	clear(c.left)
	maps.Copy(c.left, c.keys)
}

// ensure adds an element that is not there, or has another value.
func (c *container) ensure(e nft.Element) []Command {
	key := keyOf(&e)
	was, there := c.elements[key]
	delete(c.left, key)
	if there && was == valueOf(&e) {
		return nil
	}
	c.note(&e)
	add := Command{In: c.name, Element: &e}
	if !there {
		return []Command{add}
	}
	return []Command{{Verb: Delete, In: c.name, Element: &e}, add}
}

// leftovers deletes what nobody called for, in the order of the keys.
func (c *container) leftovers() []Command {
	var out []Command
	for _, key := range slices.Sorted(maps.Keys(c.left)) {
		e := c.left[key]
		out = append(out, Command{Verb: Delete, In: c.name, Element: &e})
		delete(c.elements, key)
		delete(c.keys, key)
	}
	clear(c.left)
	return out
}

// valueOf is what an element of a verdict map has for its key.
func valueOf(e *nft.Element) string {
	if e.Verdict != nil {
		return e.Verdict.String()
	}
	return ""
}
