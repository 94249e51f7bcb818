package xt

import (
	"errors"
	"math"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// ChangeSet is -j SET: it adds the packet to a set, deletes it from one, and gives it what a member of a third one has for it
// (xt_set.c). It goes on.
type ChangeSet struct {
	Add, Delete, Map SetRef
	Exist            bool   // what is there already is set anew
	Timed            bool   // with Timeout
	Timeout          uint32 // of what is added, in s; 0: for ever
	// Of the member of Map.
	Mark, Priority, Queue bool
}

// SetRef is a set in a rule, with the dimensions that are asked for. The zero SetRef is none.
type SetRef struct {
	Set  string
	Dims rules.SetDims
}

var changeSetRow = Extension{
	Name: "SET", Kind: TargetKind,
	Options: []Option{ // iptables takes a "!" in front of each, which means nothing
		{Name: "--add-set", Values: 2, Not: true},
		{Name: "--del-set", Values: 2, Not: true},
		{Name: "--map-set", Values: 2, Not: true},
		{Name: "--exist", Not: true},
		{Name: "--timeout", Values: 1, Not: true},
		{Name: "--map-mark", Not: true},
		{Name: "--map-prio", Not: true},
		{Name: "--map-queue", Not: true},
	},
	Tables: []string{"mangle", "raw", "nat", "filter", "security"}, // the first one is where every option goes
	Examples: []string{
		"--add-set one src", "--add-set one src,dst --exist --timeout 0 --del-set one dst", "--del-set one dst,dst,dst,src,src,src",
		"--add-set one src --timeout 4294967294", "--map-set one src --map-mark", "--map-set one src --map-prio --map-queue",
	},
	Parse:  parseChangeSet,
	Listed: func(l *Listing) bool { return l.Options("") },
	// struct xt_set_info_target_v3 { struct xt_set_info add_set, del_set, map_set; __u32 flags, timeout; }; revision 2 has no
	// map_set, 1 no flags and no timeout either.
	Layouts: layouts(
		layout(3, 20, decodeChangeSet(3), encodeChangeSet(3)).since(Version{1, 6, 0}),
		layout(2, 16, decodeChangeSet(2), encodeChangeSet(2)),
		layout(1, 8, decodeChangeSet(1), encodeChangeSet(1)),
	),
}

// Tables is mangle for what a member has for the packet (set_target_v3_checkentry).
func (t ChangeSet) Tables() []string {
	if t.Map.Set != "" {
		return []string{"mangle"}
	}
	return nil
}

// Hooks are those where a packet leaves for the priority and the queue of a member.
func (t ChangeSet) Hooks() Hooks {
	if t.Priority || t.Queue {
		return leaves
	}
	return 0
}

func parseChangeSet(a *Args) Value {
	var t ChangeSet
	a.Need("--add-set", "--del-set", "--map-set")
	a.Once("--exist", "--timeout", "--map-mark", "--map-prio", "--map-queue")
	for _, needs := range []struct{ option, set string }{
		{"--exist", "--add-set"}, {"--timeout", "--add-set"}, {"--map-mark", "--map-set"}, {"--map-prio", "--map-set"}, {"--map-queue", "--map-set"},
	} {
		if a.Has(needs.option) && !a.Has(needs.set) {
			a.Fail("%s needs %s", needs.option, needs.set)
		}
	}
	if a.Has("--map-set") {
		a.Need("--map-mark", "--map-prio", "--map-queue")
	}
	for g := range a.Options {
		switch g.Name() {
		case "--add-set":
			t.Add = SetRef{g.setName(), g.setDims()}
		case "--del-set":
			t.Delete = SetRef{g.setName(), g.setDims()}
		case "--map-set":
			t.Map = SetRef{g.setName(), g.setDims()}
		case "--exist":
			t.Exist = true
		case "--timeout":
			t.Timed, t.Timeout = true, uint32(g.Within(0, math.MaxUint32-1))
		case "--map-mark":
			t.Mark = true
		case "--map-prio":
			t.Priority = true
		case "--map-queue":
			t.Queue = true
		}
	}
	return t
}

func decodeChangeSet(revision uint8) func(d []byte, e *Env) (ChangeSet, bool) {
	return func(d []byte, e *Env) (t ChangeSet, ok bool) {
		ok = true
		refs := []*SetRef{&t.Add, &t.Delete, &t.Map}[:max(int(revision), 2)]
		for i, ref := range refs {
			name, dims, can := readSetInfo(d[4*i:], e)
			*ref, ok = SetRef{name, dims}, ok && can && d[4*i+3]&(setInvert|setOldNoMatch) == 0
		}
		if revision == 1 {
			return t, ok
		}
		d = d[4*len(refs):]
		flags, timeout := order.Uint32(d), order.Uint32(d[4:])
		t.Exist, t.Mark, t.Priority, t.Queue = flags&setExist != 0, flags&setMapMark != 0, flags&setMapPriority != 0, flags&setMapQueue != 0
		if timeout != math.MaxUint32 {
			t.Timed, t.Timeout = true, timeout
		}
		return t, ok && flags&^(setExist|setMapMark|setMapPriority|setMapQueue) == 0 && (revision > 2 || flags&^setExist == 0)
	}
}

func encodeChangeSet(revision uint8) func(t ChangeSet, d []byte, e *Env) error {
	return func(t ChangeSet, d []byte, e *Env) error {
		refs := []SetRef{t.Add, t.Delete, t.Map}
		if revision < 3 {
			if refs = refs[:2]; t.Map.Set != "" || revision == 1 && (t.Exist || t.Timed) {
				return errors.New("--map-set needs revision 3 of SET, --exist and --timeout need 2")
			}
		}
		for i, ref := range refs {
			if err := putSetInfo(d[4*i:], ref.Set, ref.Dims, e); err != nil {
				return err
			}
		}
		if d = d[4*len(refs):]; revision == 1 {
			return nil
		}
		order.PutUint32(d, bitsIf(t.Exist, setExist)|bitsIf(t.Mark, setMapMark)|bitsIf(t.Priority, setMapPriority)|bitsIf(t.Queue, setMapQueue))
		timeout := uint32(math.MaxUint32)
		if t.Timed {
			timeout = t.Timeout
		}
		order.PutUint32(d[4:], timeout)
		return nil
	}
}

// Name is "SET".
func (ChangeSet) Name() string { return "SET" }

// Save prints the sets with what is done to them.
func (t ChangeSet) Save(p *Printer) { t.print(p, "--") }

// List prints the same without dashes.
func (t ChangeSet) List(p *Printer) { t.print(p, "") }

func (t ChangeSet) print(p *Printer, prefix string) {
	set := func(option string, ref SetRef) {
		if ref.Set != "" {
			p.Option(false, prefix+option, ref.Set+" "+dimsText(ref.Dims))
		}
	}
	set("add-set", t.Add)
	p.Flag(t.Exist, prefix+"exist")
	if t.Timed {
		p.Number(prefix+"timeout", uint64(t.Timeout))
	}
	set("del-set", t.Delete)
	set("map-set", t.Map)
	p.Flag(t.Mark, prefix+"map-mark")
	p.Flag(t.Priority, prefix+"map-prio")
	p.Flag(t.Queue, prefix+"map-queue")
}

// maxSetTimeout is what a longer timeout becomes, in s (IPSET_MAX_TIMEOUT).
const maxSetTimeout = math.MaxUint32 / 1000

// Act adds, deletes and maps, in this order. Of what it maps only the mark makes a difference to rules; where it cannot be told
// whether the set has a mark for the packet, that is asked, and the packet's way ends there if it has.
func (t ChangeSet) Act(v *rules.Visit) rules.Action {
	w, ok := v.World.(rules.SetHolder)
	if ok {
		t.change(w, v)
	}
	if t.Map.Set == "" || !t.Mark {
		return rules.Continue()
	}
	var answer rules.SetAnswer
	if ok {
		answer = w.AskSet(v.Packet, rules.SetQuery{Set: t.Map.Set, Dims: t.Map.Dims, Info: true})
	}
	switch answer.Answer {
	case rules.Yes:
		v.Mark = v.Mark&^answer.Info.MarkMask ^ answer.Info.Mark
	case rules.Unknown:
		if text := "-j SET " + Options(t, nat.IPv4); v.Unknown(text + ": the set has a mark for the packet") {
			return rules.Action{Verdict: nat.Accept, Effect: &rules.Open{Why: text + ": which mark it sets is not known"}}
		}
	case rules.No:
	}
	return rules.Continue()
}

func (t ChangeSet) change(w rules.SetHolder, v *rules.Visit) {
	if t.Add.Set != "" {
		change := rules.SetChange{Set: t.Add.Set, Dims: t.Add.Dims, Exist: t.Exist}
		if t.Timed {
			timeout := time.Duration(min(t.Timeout, maxSetTimeout)) * time.Second
			change.Timeout = &timeout
		}
		w.ChangeSet(v.Packet, change)
	}
	if t.Delete.Set != "" {
		w.ChangeSet(v.Packet, rules.SetChange{Set: t.Delete.Set, Dims: t.Delete.Dims, Delete: true})
	}
}
