package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlab/lab"
	"natlab/nat"
	"natlab/nat/report"
	"natlab/topology"
)

// describedEntry is an element of conntrack -o json.
type describedEntry struct {
	nat.Entry
	Decoded string `json:"decoded"` // what was done to it, as extended has it
}

func described(all []nat.Entry) []describedEntry {
	out := make([]describedEntry, len(all))
	for i, e := range all {
		out[i] = describedEntry{e, e.Decoded()}
	}
	return out
}

// entryFlags are conntrack(8)'s options that choose among entries.
type entryFlags struct {
	proto, mark, status, state                 string
	src, dst, replySrc, replyDst               string
	sport, dport, replySport, replyDport, zone uint16
	four, six, srcNAT, dstNAT, anyNAT          bool
	flags                                      *pflag.FlagSet
}

func (e *entryFlags) add(f *pflag.FlagSet) {
	e.flags = f
	f.StringVarP(&e.proto, "proto", "p", "", "of this protocol, such as tcp, or its number")
	f.StringVarP(&e.src, "src", "s", "", "from this address or network, before any translation")
	f.StringVarP(&e.dst, "dst", "d", "", "to this one, before any translation")
	f.StringVarP(&e.replySrc, "reply-src", "r", "", "whose answers come from this one")
	f.StringVarP(&e.replyDst, "reply-dst", "q", "", "whose answers go to this one")
	f.Uint16Var(&e.sport, "sport", 0, "from this port")
	f.Uint16Var(&e.dport, "dport", 0, "to this port")
	f.Uint16Var(&e.replySport, "reply-port-src", 0, "whose answers come from this port")
	f.Uint16Var(&e.replyDport, "reply-port-dst", 0, "whose answers go to this port")
	f.StringVar(&e.state, "state", "", "in this state of TCP or SCTP, such as ESTABLISHED")
	f.StringVarP(&e.status, "status", "u", "", "with these, with commas between: UNREPLIED, SEEN_REPLY, ASSURED and the others of conntrack")
	f.StringVarP(&e.mark, "mark", "m", "", "with this mark: VALUE or VALUE/MASK")
	f.Uint16VarP(&e.zone, "zone", "w", 0, "of this zone")
	f.BoolVar(&e.srcNAT, "src-nat", false, "whose source was translated")
	f.BoolVar(&e.dstNAT, "dst-nat", false, "whose destination was translated")
	f.BoolVarP(&e.anyNAT, "any-nat", "j", false, "that were translated")
	f.BoolVarP(&e.four, "ipv4", "4", false, "of IPv4")
	f.BoolVarP(&e.six, "ipv6", "6", false, "of IPv6")
}

// filter is what the flags choose.
func (e *entryFlags) filter() (f nat.EntryFilter, err error) {
	f = nat.EntryFilter{
		Sport: e.sport, Dport: e.dport, ReplySport: e.replySport, ReplyDport: e.replyDport, State: e.state, SrcNAT: e.srcNAT, DstNAT: e.dstNAT, AnyNAT: e.anyNAT,
	}
	for _, net := range []struct {
		flag, text string
		into       *netip.Prefix
	}{{"src", e.src, &f.Src}, {"dst", e.dst, &f.Dst}, {"reply-src", e.replySrc, &f.ReplySrc}, {"reply-dst", e.replyDst, &f.ReplyDst}} {
		if net.text == "" {
			continue
		}
		if *net.into, err = topology.ParsePrefix(net.text); err != nil {
			return f, fmt.Errorf("--%s: %w", net.flag, err)
		}
	}
	if e.proto != "" {
		if n, wrong := strconv.ParseUint(e.proto, 10, 8); wrong == nil {
			f.Proto = nat.Proto(n)
		} else if f.Proto, err = nat.ParseProto(e.proto); err != nil {
			return f, fmt.Errorf("--proto: %w", err)
		}
	}
	if e.status != "" {
		if err := f.ParseStatusFilter(e.status); err != nil {
			return f, fmt.Errorf("--status: %w", err)
		}
	}
	if e.mark != "" {
		m, err := nat.ParseMark(e.mark)
		if err != nil {
			return f, fmt.Errorf("--mark: %w", err)
		}
		f.Mark = &m
	}
	if e.flags.Changed("zone") {
		f.Zone = &e.zone
	}
	if e.four != e.six {
		family := map[bool]nat.Family{true: nat.IPv6}[e.six]
		f.Family = &family
	}
	return f, nil
}

func (p *program) conntrack() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conntrack NODE [--name N] [-o text|json|extended|timestamp] [--watch] [filters] | conntrack NODE --stats",
		Short: "List the connections of a node of a lab, whoever tracks them",
		Long: `List the connection tracking entries of a node, or of any other member of a lab, in the form of conntrack -L: those of its
kernel, or where the lab is up with --dataplane userspace those of its gateway. extended tells behind each what was done to it, json has both in fields.

With --watch it tells in place of that what happens to connections from now on, in the form of conntrack -E, until it is interrupted: NEW, UPDATE, DESTROY.
With -o json each event is a document in a line, with -o timestamp it has the time in front, as natlab ports --events reads it.

The filters are conntrack's own: an entry is listed that all of them are for. --stats prints the counters of conntrack -S in place of entries, of all
CPUs together.`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usage(cmd, errors.New("no node given"))
			case 1:
				return nil
			}
			return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
		},
	}
	name := named(cmd)
	form := output(cmd, "text", "json", "extended", "timestamp")
	var filters entryFlags
	filters.add(cmd.Flags())
	stats := cmd.Flags().BoolP("stats", "S", false, "print what was counted since the namespace is there, in place of entries")
	watch := cmd.Flags().BoolP("watch", "E", false, "tell what happens to connections from now on, in place of entries")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *watch && *stats {
			return usage(cmd, errors.New("--watch and --stats exclude each other"))
		}
		if form.value == "timestamp" && !*watch {
			return usage(cmd, errors.New("-o timestamp is of --watch alone: an entry has no time"))
		}
		filter, err := filters.filter()
		if err != nil {
			return err
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		if *stats {
			counted, err := l.Counters(args[0])
			if err := joinClose(err, l); err != nil {
				return err
			}
			return p.printCounters(counted, form.value)
		}
		if *watch {
			return joinClose(p.watchEntries(cmd.Context(), l, args[0], filter, form.value), l)
		}
		all, err := l.Entries(args[0])
		if err := joinClose(err, l); err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(e nat.Entry) bool { return !filter.Takes(&e) })
		return p.printEntries(all, form.value)
	}
	return cmd
}

// describedEvent is a line of conntrack --watch -o json.
type describedEvent struct {
	Event   nat.EventKind `json:"event"`
	Entry   nat.Entry     `json:"entry"`
	Decoded string        `json:"decoded"`
}

// watchEntries prints what happens to a member's connections until it is interrupted, or the lab ends.
func (p *program) watchEntries(ctx context.Context, l *lab.Lab, member string, filter nat.EntryFilter, form string) error {
	attended, stop, err := l.Attend(ctx)
	if err != nil {
		return err
	}
	defer stop()
	ready := func() { p.logf("watching the connections of %s", member) }
	lost, err := l.Events(attended, member, ready, func(e nat.Event) error {
		switch {
		case !filter.Takes(&e.Entry):
			return nil
		case form == "json":
			return report.Line(p.out, kindConntrackEvent, describedEvent{e.Kind, e.Entry, e.Decoded()})
		}
		line := e.String()
		switch form {
		case "extended":
			line += "  # " + e.Decoded()
		case "timestamp":
			now := time.Now()
			line = fmt.Sprintf("[%d.%06d]\t%s", now.Unix(), now.Nanosecond()/1000, line)
		}
		_, err := fmt.Fprintln(p.out, line)
		return err
	})
	if lost > 0 {
		p.logf("%d events could not be delivered: what is told lacks them", lost)
	}
	if ctx.Err() == nil && attended.Err() != nil { // the lab is gone
		err = context.Cause(attended)
	}
	return err
}

// kindConntrackEvent is the kind of the documents that conntrack --watch prints.
const kindConntrackEvent = "ConntrackEvent"

func (p *program) printCounters(c fmt.Stringer, form string) error {
	if form == "json" {
		return writeJSON(p.out, c)
	}
	_, err := fmt.Fprintln(p.out, c)
	return err
}

func (p *program) printEntries(all []nat.Entry, form string) error {
	if form == "json" {
		return writeJSON(p.out, described(all))
	}
	var b strings.Builder
	for _, e := range all {
		if b.WriteString(e.String()); form == "extended" {
			b.WriteString("  # " + e.Decoded())
		}
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(p.out, b.String())
	return err
}
