package kubeproxy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	nft "natlab/nat/nftables"
)

// Verb is what a Command does.
type Verb uint8

// The verbs, as `nft -f` has them.
const (
	Add Verb = iota
	Flush
	Delete
)

func (v Verb) String() string { return [...]string{"add", "flush", "delete"}[min(v, Delete)] }

// Command is one line of a transaction. One of Table, Chain, Set, Rule, Element and Object is set: what it is about.
type Command struct {
	Verb    Verb
	Table   *nft.Table   // with its comment alone
	Chain   *nft.Chain   // without rules
	Set     *nft.Set     // or map, without elements
	Object  *nft.Object  //
	Rule    *nft.Rule    // which is appended to the chain In
	Element *nft.Element // of the set or map In; with its key alone where it is deleted
	In      string       // of a rule the chain, of an element the set or map
	Text    string       // of a rule that kube-proxy writes otherwise than nft lists it; "" for others
	key     string       // of an element, where it is known: as nft.KeyOf has it
}

// Transaction is what kube-proxy hands to nft at once: all of it is carried out, or nothing.
type Transaction struct {
	Family   nft.Family
	Commands []Command
}

// String is the transaction as kube-proxy writes it and `nft -f` reads it, a command a line.
func (tx Transaction) String() string {
	var b strings.Builder
	for i := range tx.Commands {
		tx.Commands[i].write(&b, string(tx.Family)+" "+NFTTable)
	}
	return b.String()
}

func (c *Command) write(b *strings.Builder, table string) {
	line := func(kind, name, rest string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s %s %s %s %s", c.Verb, kind, table, name, rest), " "))
		b.WriteByte('\n')
	}
	switch {
	case c.Table != nil:
		fmt.Fprintf(b, "%s table %s { comment %q ; }\n", c.Verb, table, c.Table.Comment)
	case c.Chain != nil:
		line("chain", c.Chain.Name, c.chainBlock())
	case c.Set != nil:
		line(kindOf(c.Set), c.Set.Name, c.setBlock())
	case c.Object != nil:
		line(c.Object.Kind, c.Object.Name, "")
	case c.Rule != nil:
		line("rule", c.In, cmp.Or(c.Text, ownWords(c.Rule)))
	case c.Element != nil && c.Verb == Delete:
		line("element", c.In, "{ "+keyText(c.Element)+" }")
	case c.Element != nil:
		line("element", c.In, "{ "+c.Element.String()+" }")
	}
}

func kindOf(s *nft.Set) string {
	if s.Map {
		return "map"
	}
	return "set"
}

// chainBlock is what a chain is added with.
func (c *Command) chainBlock() string {
	switch chain := c.Chain; {
	case c.Verb != Add:
	case chain.Base != nil:
		return fmt.Sprintf("{ type %s hook %s priority %d ; }", chain.Base.Type, chain.Base.Hook, chain.Base.Priority)
	case chain.Comment != "":
		return fmt.Sprintf("{ comment %q ; }", chain.Comment)
	}
	return ""
}

// setBlock is what a set or a map is added with. The kernel gives a set that packets fill a size of its own.
func (c *Command) setBlock() string {
	if c.Verb != Add {
		return ""
	}
	s := c.Set
	out := "{ type " + joinTypes(s.Key)
	if s.Map {
		out += " : " + joinTypes(s.Data)
	}
	out += " ;"
	if len(s.Flags) > 0 {
		out += " flags " + strings.Join(s.Flags, ",") + " ;"
	}
	if s.Timeout > 0 {
		out += fmt.Sprintf(" timeout %ds ;", int64(s.Timeout.Seconds()))
	}
	if s.Comment != "" {
		out += fmt.Sprintf(" comment %q ;", s.Comment)
	}
	return out + " }"
}

func joinTypes(types []nft.Type) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = string(t)
	}
	return strings.Join(out, " . ")
}

// Apply returns what is there after a transaction on a table that was there before; a deletion of what is not there is passed over.
// Elements come as nft 1.0.6 sorts them.
func (tx Transaction) Apply(before nft.Table) nft.Table {
	chains, elements := tx.adds()
	a := applied{chains: make(map[string]int, len(before.Chains)+chains), sets: map[string]int{}, adds: elements, last: -1}
	a.out = nft.Table{Family: tx.Family, Name: NFTTable, Comment: before.Comment, Flags: before.Flags, Objects: slices.Clone(before.Objects)}
	for _, c := range before.Chains {
		c.Rules = slices.Clone(c.Rules)
		a.addChain(c)
	}
	for _, s := range before.Sets {
		a.addSet(s)
	}
	for i := range tx.Commands {
		a.apply(&tx.Commands[i])
	}
	return a.table()
}

// adds is how many chains it adds, and how many elements by set.
func (tx Transaction) adds() (chains int, elements map[string]int) {
	elements = map[string]int{}
	for i := range tx.Commands {
		switch c := &tx.Commands[i]; {
		case c.Verb != Add:
		case c.Chain != nil:
			chains++
		case c.Element != nil:
			elements[c.In]++
		}
	}
	return chains, elements
}

// applied is a table on which a transaction is carried out. What is deleted leaves a gap until the end.
type applied struct {
	out          nft.Table
	chains, sets map[string]int
	adds         map[string]int // how many elements come, by set
	last         int            // the chain that a rule was added to last
	elements     []*elements    // by set
}

// elements are those of a set, by their keys.
type elements struct {
	list []nft.Element // in the order of their addition; a deleted one has no key
	at   map[string]int
}

func (a *applied) apply(c *Command) {
	switch {
	case c.Table != nil:
		a.out.Comment = c.Table.Comment
	case c.Chain != nil:
		a.chain(c)
	case c.Set != nil:
		a.set(c)
	case c.Object != nil:
		a.object(c)
	case c.Rule != nil:
		a.rule(c)
	case c.Element != nil:
		if i, ok := a.sets[c.In]; ok {
			a.elements[i].apply(c)
		}
	}
}

// rule adds a rule. Those of one chain mostly follow each other.
func (a *applied) rule(c *Command) {
	if a.last < 0 || a.out.Chains[a.last].Name != c.In {
		i, ok := a.chains[c.In]
		if !ok {
			return
		}
		a.last = i
	}
	chain := &a.out.Chains[a.last]
	chain.Rules = append(chain.Rules, *c.Rule)
}

func (a *applied) chain(c *Command) {
	i, there := a.chains[c.Chain.Name]
	switch {
	case c.Verb == Add && !there:
		a.addChain(*c.Chain)
	case c.Verb == Flush && there:
		a.out.Chains[i].Rules = nil
	case c.Verb == Delete && there:
		a.out.Chains[i].Name = ""
		delete(a.chains, c.Chain.Name)
	}
}

func (a *applied) addChain(c nft.Chain) {
	a.chains[c.Name] = len(a.out.Chains)
	a.out.Chains = append(a.out.Chains, c)
}

func (a *applied) set(c *Command) {
	i, there := a.sets[c.Set.Name]
	switch {
	case c.Verb == Add && !there:
		a.addSet(*c.Set)
	case c.Verb == Flush && there:
		a.elements[i] = newElements(nil, a.adds[c.Set.Name])
	case c.Verb == Delete && there:
		a.out.Sets[i].Name = ""
		delete(a.sets, c.Set.Name)
	}
}

func (a *applied) addSet(s nft.Set) {
	if s.Has("dynamic") && s.Size == 0 {
		s.Size = dynamicSize
	}
	a.sets[s.Name] = len(a.out.Sets)
	a.elements = append(a.elements, newElements(s.Elements, a.adds[s.Name]))
	s.Elements = nil
	a.out.Sets = append(a.out.Sets, s)
}

// dynamicSize is how many elements a set takes that packets fill, where it is added without a size (nf_tables_newset, nft's evaluation).
const dynamicSize = 65535

func (a *applied) object(c *Command) {
	i := slices.IndexFunc(a.out.Objects, func(o nft.Object) bool { return o.Kind == c.Object.Kind && o.Name == c.Object.Name })
	switch {
	case c.Verb == Add && i < 0:
		a.out.Objects = append(a.out.Objects, *c.Object)
	case c.Verb == Delete && i >= 0:
		a.out.Objects = slices.Delete(a.out.Objects, i, i+1)
	}
}

// newElements are those that are there, with room for more.
func newElements(list []nft.Element, more int) *elements {
	e := &elements{list: make([]nft.Element, 0, len(list)+more), at: make(map[string]int, len(list)+more)}
	for _, one := range list {
		e.at[nft.KeyOf(one.Key)] = len(e.list)
		e.list = append(e.list, one)
	}
	return e
}

func (e *elements) apply(c *Command) {
	key := c.key
	if key == "" {
		key = nft.KeyOf(c.Element.Key)
	}
	i, there := e.at[key]
	switch {
	case c.Verb == Add && there:
		e.list[i] = *c.Element
	case c.Verb == Add:
		e.at[key] = len(e.list)
		e.list = append(e.list, *c.Element)
	case there:
		e.list[i].Key = nil
		delete(e.at, key)
	}
}

// table is what is left, without the gaps.
func (a *applied) table() nft.Table {
	for i := range a.out.Sets {
		list := slices.DeleteFunc(a.elements[i].list, func(e nft.Element) bool { return e.Key == nil })
		nft.SortElements(list)
		a.out.Sets[i].Elements = list
	}
	a.out.Sets = slices.DeleteFunc(a.out.Sets, func(s nft.Set) bool { return s.Name == "" })
	a.out.Chains = slices.DeleteFunc(a.out.Chains, func(c nft.Chain) bool { return c.Name == "" })
	return a.out
}
