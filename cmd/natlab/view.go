package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/view"
	"natlab/nat/xtables"
)

// viewFlags are what the flags of view ask for.
type viewFlags struct {
	as, name, node, rules, table string
	counters, explain            bool
	familyAsked                  bool // by its flag
	style, family, backend       *choice
}

func (p *program) view() *cobra.Command {
	v := viewFlags{
		style:   &choice{value: "save", words: []string{"save", "list"}},
		family:  &choice{value: nat.IPv4.String(), words: []string{nat.IPv4.String(), nat.IPv6.String()}},
		backend: &choice{value: string(dataplane.Legacy), words: []string{string(dataplane.Legacy), string(dataplane.NFT)}},
	}
	cmd := &cobra.Command{
		Use:   "view --as VERSION [--node NODE | --rules FILE] [--style save|list] [--explain]",
		Short: "Show the kernel's rules as an old or new iptables shows them",
		Long: `Show the rules that the kernel holds as a given version of iptables (legacy) shows them, also where that version
misreads them: kubernetes/kubernetes#114537. The rules are those of a lab's node, of a saved rule set, which is loaded
into a network namespace of its own for that, or else of this machine. Nothing is changed.

Where the old program prints bytes from behind a rule's own, natlab prints what can be known of them and reports on
standard error where they come from.`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&v.as, "as", "", "the version of iptables, from "+view.Oldest.String()+" to "+view.Newest.String())
	f.StringVar(&v.name, "name", "", "the lab's name (default: the one that is up)")
	f.StringVar(&v.node, "node", "", "a node of the lab")
	f.StringVar(&v.rules, "rules", "", "a file with the output of iptables-save or iptables -S, or rows and commands; - is standard input")
	f.StringVar(&v.table, "table", "", "only this table")
	f.Var(v.style, "style", "as iptables-save or as iptables -L -n")
	f.Var(v.family, "family", "which of the two rule sets")
	f.Var(v.backend, "backend", "the rules of which backend; only 1.8.0 and later have iptables-nft")
	f.BoolVarP(&v.counters, "counters", "c", false, "with the rules' counters")
	f.BoolVar(&v.explain, "explain", false, "lay the bytes of each NAT target out, field by field")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v.familyAsked = f.Changed("family")
		return p.runView(cmd, v)
	}
	return cmd
}

func (p *program) runView(cmd *cobra.Command, v viewFlags) error {
	if v.as == "" {
		return usage(cmd, errors.New("--as is missing: want a version of iptables, such as 1.4.21"))
	}
	if v.node != "" && v.rules != "" {
		return usage(cmd, errors.New("--node and --rules exclude each other"))
	}
	if v.rules != "" && v.backend.value != string(dataplane.Legacy) {
		return usage(cmd, errors.New("--rules are loaded as iptables-legacy's"))
	}
	version, err := view.ParseVersion(v.as)
	if err != nil {
		return usage(cmd, fmt.Errorf("--as: %w", err))
	}
	if v.backend.value == string(dataplane.NFT) && !view.HasNFT(version) {
		return usage(cmd, fmt.Errorf("iptables %s has no iptables-nft: it would show nothing of these rules", version))
	}
	raw, err := p.raw(cmd.Context(), v)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	if raw.Unasked {
		p.logf("no kernel could be asked (no root, or no ip_tables): natlab laid the rules out itself")
	}
	tables := raw.Tables
	if v.table != "" {
		if tables, err = onlyTable(tables, v.table); err != nil {
			return fmt.Errorf("view: %w", err)
		}
	}
	if len(tables) == 0 {
		p.logf("the kernel holds no table of %s there", raw.Backend)
		return nil
	}
	view := view.View{Version: version, Sets: raw.Sets, Counters: v.counters}
	if v.explain {
		_, err = io.WriteString(p.out, view.Explain(tables...))
		return err
	}
	show := view.Save
	if v.style.value == "list" {
		show = view.List
	}
	text, notes := show(tables...)
	p.notes(notes)
	_, err = io.WriteString(p.out, text)
	return err
}

// raw reads the rules that the flags name.
func (p *program) raw(ctx context.Context, v viewFlags) (inspect.Raw, error) {
	family := nat.IPv4
	if v.family.value == nat.IPv6.String() {
		family = nat.IPv6
	}
	switch {
	case v.rules != "":
		rs, err := p.readRules(v.rules, family, v.familyAsked)
		if err != nil {
			return inspect.Raw{}, err
		}
		raw, err := inspect.Load(ctx, rs.Counted(), rs.Family)
		if err != nil {
			return inspect.Raw{}, fmt.Errorf("%s: %w", v.rules, err)
		}
		return raw, nil
	case v.node != "":
		l, err := open(ctx, v.name)
		if err != nil {
			return inspect.Raw{}, err
		}
		h, err := l.Handle(v.node)
		if err != nil {
			return inspect.Raw{}, joinClose(err, l)
		}
		raw, err := inspect.Read(h, dataplane.Backend(v.backend.value), family)
		return raw, joinClose(err, l)
	}
	return inspect.Read(inspect.Here{}, dataplane.Backend(v.backend.value), family)
}

// readRules reads the rules of a family from a file. Where the family was not asked for and the file has only the other's, it
// is that.
func (p *program) readRules(file string, family nat.Family, asked bool) (iptables.Ruleset, error) {
	text, err := p.read(file)
	if err != nil {
		return iptables.Ruleset{}, err
	}
	read, err := iptables.Read(text)
	if err != nil {
		return iptables.Ruleset{}, fmt.Errorf("%s: %w", file, err)
	}
	rs, ok := read.Ruleset(family)
	switch {
	case !ok && asked:
		return iptables.Ruleset{}, fmt.Errorf("%s: there are rules of %s only", file, read.Rulesets[0].Family)
	case !ok:
		rs = read.Rulesets[0]
	}
	if err := rs.Unlisted(); err != nil {
		return iptables.Ruleset{}, fmt.Errorf("%s: %w", file, err)
	}
	p.readNotes(file, read.Notes)
	return rs, nil
}

// maxRules bounds a saved rule set: 10,000 Services take 12 MB.
const maxRules = 256 << 20

// read is a whole file, or standard input.
func (p *program) read(name string) (_ string, err error) {
	in := p.in
	if name != "-" {
		f, err := openFile(name)
		if err != nil {
			return "", fmt.Errorf("--rules: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxRules+1))
	if err == nil && len(b) > maxRules {
		err = fmt.Errorf("--rules %s: more than %d MiB", name, maxRules>>20)
	}
	return string(b), err
}

func onlyTable(tables []xtables.Table, name string) ([]xtables.Table, error) {
	var have []string
	for _, t := range tables {
		if t.Name == name {
			return []xtables.Table{t}, nil
		}
		have = append(have, t.Name)
	}
	return nil, fmt.Errorf("table %q is not there; these are: %s", name, strings.Join(have, ", "))
}

// notes prints each thing once, with the first rule it is true of and the number of the others.
func (p *program) notes(notes []view.Note) {
	count := map[string]int{}
	for _, n := range notes {
		count[n.Text]++
	}
	for _, n := range notes {
		c := count[n.Text]
		delete(count, n.Text)
		switch c {
		case 0:
		case 1:
			p.logf("%s", n)
		default:
			p.logf("%s %s:%d and %d more: %s", n.Table, n.Chain, n.Rule, c-1, n.Text)
		}
	}
}
