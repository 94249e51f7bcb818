package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/nat"
	"natlab/nat/view"
	"natlab/nat/xtables"
)

// self is the file that natlab runs from; "" where the kernel does not tell.
func (p *program) self() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

// standsIn is the name of the program of iptables that natlab is called as, by exec in a node whose Lab document gives it a version.
func standsIn(argv0 string) (name string, ok bool) {
	name = filepath.Base(argv0)
	return name, slices.Contains(dataplane.ConsoleNames, name) && os.Getenv(dataplane.StandInVariable) != ""
}

// standIn is a program of iptables of a version that is not installed: it shows the kernel's rules as that version does. Everything else the
// installed program does.
type standIn struct {
	dataplane.StandIn

	name string
}

// iptables runs natlab as one of the programs of iptables, with arguments of the program's own.
func (p *program) iptables(name string, args []string) int {
	as, err := dataplane.ParseStandIn(os.Getenv(dataplane.StandInVariable))
	if err != nil {
		return p.refused(name, err)
	}
	if !view.HasNFT(as.Version) {
		as.Backend = dataplane.Legacy // it sees nothing of what another backend holds
	}
	s := standIn{as, name}
	asked, ok := s.asked(args)
	if !ok {
		return p.installed(name, args)
	}
	text, err := s.show(asked)
	if errors.Is(err, errNoTable) {
		return p.installed(name, args) // which makes the table, empty
	}
	if err == nil {
		_, err = io.WriteString(p.out, text)
	}
	if err != nil {
		return p.refused(name, err)
	}
	return exitOK
}

// refused prints an error as the program does, and is its status of one.
func (p *program) refused(name string, err error) int {
	_, _ = fmt.Fprintf(p.err, "%s: %s\n", name, printable(err.Error()))
	return exitDiffers
}

// shown is what a program's arguments ask it to show.
type shown struct {
	table           string // "" for all
	list, rules     bool
	numeric, banner bool
	view            view.View
}

// asked takes a program's arguments apart; false: they ask for something else than to show rules by number.
func (s standIn) asked(args []string) (a shown, ok bool) {
	f := pflag.NewFlagSet(s.name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVarP(&a.table, "table", "t", "", "")
	f.BoolVarP(&a.banner, "version", "V", false, "")
	f.StringP("modprobe", "M", "", "")
	saves := strings.HasSuffix(s.name, "-save")
	if saves {
		f.BoolVarP(&a.view.Counters, "counters", "c", false, "")
	} else {
		f.BoolVarP(&a.list, "list", "L", false, "")
		f.BoolVarP(&a.rules, "list-rules", "S", false, "")
		f.BoolVarP(&a.numeric, "numeric", "n", false, "")
		f.BoolVarP(&a.view.Counters, "verbose", "v", false, "")
		f.BoolVarP(&a.view.Exact, "exact", "x", false, "")
		f.BoolVar(&a.view.Numbers, "line-numbers", false, "")
		f.BoolP("wait", "w", false, "")
	}
	if err := f.Parse(args); err != nil || f.NArg() > 1 || saves && f.NArg() > 0 {
		return a, false
	}
	a.view.Version, a.view.Chain = s.Version, f.Arg(0)
	if !saves && a.table == "" {
		a.table = "filter"
	}
	return a, saves || a.banner || a.rules || a.list && a.numeric
}

// show is what the program prints.
func (s standIn) show(a shown) (string, error) {
	if a.banner {
		return s.banner() + "\n", nil
	}
	family := nat.IPv4
	if strings.HasPrefix(s.name, "ip6") {
		family = nat.IPv6
	}
	raw, err := inspect.Read(inspect.Here{}, s.Backend, family)
	if err != nil {
		return "", err
	}
	tables := raw.Tables
	if a.table != "" {
		at := slices.IndexFunc(tables, func(t xtables.Table) bool { return t.Name == a.table })
		if at < 0 {
			return "", errNoTable
		}
		tables = tables[at : at+1]
	}
	a.view.Sets = raw.Sets
	switch {
	case a.list || a.rules:
		if a.view.Chain != "" && !slices.ContainsFunc(tables[0].Chains, func(c xtables.Chain) bool { return c.Name == a.view.Chain }) {
			return "", errors.New("No chain/target/match by that name.") //nolint:revive,staticcheck // the words of iptables
		}
		show := a.view.List
		if a.rules {
			show = a.view.Rules
		}
		text, _ := show(tables...)
		return text, nil
	}
	return s.saved(a.view, tables, time.Now()), nil
}

// errNoTable: the kernel has not made the table yet.
var errNoTable = errors.New("there is no such table yet")

// banner is the line of -V, which names the backend since there are two.
func (s standIn) banner() string {
	name := strings.TrimSuffix(s.name, "-save")
	switch {
	case !view.HasNFT(s.Version):
		return fmt.Sprintf("%s v%s", name, s.Version)
	case s.Backend == dataplane.NFT:
		return fmt.Sprintf("%s v%s (nf_tables)", name, s.Version)
	}
	return fmt.Sprintf("%s v%s (legacy)", name, s.Version)
}

// saved is what iptables-save prints, with its lines about itself.
func (s standIn) saved(v view.View, tables []xtables.Table, now time.Time) string {
	var b strings.Builder
	for _, t := range tables {
		text, _ := v.Save(t)
		when := now.Format("Mon Jan _2 15:04:05 2006")
		fmt.Fprintf(&b, "# Generated by %s v%s on %s\n%s# Completed on %s\n", s.name, s.Version, when, text, when)
	}
	return b.String()
}

// installed becomes the program that the node's console has behind natlab.
func (p *program) installed(name string, args []string) int {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	if len(dirs) > 0 {
		dirs = dirs[1:]
	}
	path := strings.Join(dirs, string(filepath.ListSeparator))
	err := os.Setenv("PATH", path)
	if err == nil {
		var found string
		if found, err = exec.LookPath(name); err == nil {
			err = syscall.Exec(found, append([]string{name}, args...), os.Environ())
		}
	}
	p.refused(name, err)
	return exitNotFound
}
