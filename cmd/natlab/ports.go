package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab/watch"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/portuse"
	"natlab/nat/report"
)

// portsFlags are those of the command ports.
type portsFlags struct {
	name           *string
	events, bundle string
	timeout        time.Duration
	ports          portRange
	form           *choice
}

func (p *program) ports() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ports NODE [--name N] [--timeout T] | ports --events FILE | ports --bundle FILE [--range LOW-HIGH] [-o text|json|html|svg|mermaid]",
		Short: "Draw which source ports of masquerade and SNAT are in use over time",
		Long: `Watch the connections of a node of a lab until it is interrupted, or for --timeout, and tell which source ports were in use at each address
that connections were masqueraded or translated to: how many at once, which, towards which endpoints. A port can be in use once for each endpoint, so
ports run out for one endpoint by itself. Connections of the node's own from that address take its ports, too. A port is in use as long as connection
tracking has the entry: TCP's for two minutes after the connection's end.

With --events the same is told of a record: what conntrack -E -o timestamp printed on any machine, or natlab conntrack NODE --watch -o timestamp; what conntrack -L
printed may stand in front of it, which is what was there when the record begins. With --bundle it is told of the moment in which natlab collect's script ran.`,
	}
	f := portsFlags{name: named(cmd), ports: portRange{portuse.Usual}}
	cmd.Flags().StringVar(&f.events, "events", "", "a record of what happened to connections, in place of a lab's node; - is standard input")
	cmd.Flags().StringVar(&f.bundle, "bundle", "", "what the script of natlab collect printed on a node, in place of a lab's")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "end after so long; 0 for no end")
	cmd.Flags().Var(&f.ports, "range", "the ports that the rule chooses from (--to-ports), of which shares are told")
	f.form = output(cmd, "text", "json", "html", "svg", "mermaid")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch sources := len(args) + howMany(f.events != "", f.bundle != ""); {
		case len(args) > 1:
			return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
		case sources == 0:
			return usage(cmd, errors.New("no node given, and no --events or --bundle"))
		case sources > 1:
			return usage(cmd, errors.New("a node, --events and --bundle exclude each other"))
		case f.timeout < 0:
			return usage(cmd, fmt.Errorf("--timeout %s: want 0 or more", f.timeout))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		var told report.Ports
		switch {
		case f.events != "":
			told, err = p.portsOfRecord(f.events, f.ports.Range)
		case f.bundle != "":
			told, err = p.portsOfBundle(f.bundle, f.ports.Range)
		default:
			told, err = p.portsOfNode(cmd.Context(), args[0], &f)
		}
		if err != nil && told.Node == "" {
			return err
		}
		return errors.Join(p.printPorts(&told, f.form.value), err)
	}
	return cmd
}

// howMany hold.
func howMany(all ...bool) (n int) {
	for _, holds := range all {
		if holds {
			n++
		}
	}
	return n
}

func (p *program) printPorts(told *report.Ports, form string) error {
	if form == "json" {
		return writeJSON(p.out, *told)
	}
	told.Node = printable(told.Node) // a file's name, or what a bundle's host calls itself
	if form == "text" {
		return told.Text(p.out, p.style())
	}
	return told.Write(p.out, form)
}

// portsOfNode watches a member of a lab. Where that ended before it was to, what was told until then comes with the error.
func (p *program) portsOfNode(ctx context.Context, member string, f *portsFlags) (told report.Ports, err error) {
	l, err := open(ctx, *f.name)
	if err != nil {
		return told, err
	}
	ready := func() { p.logf("watching the connections of %s", member) }
	rec, begin, lost, err := watch.Ports(ctx, l, member, watch.PortOptions{Timeout: f.timeout, Ready: ready})
	if !begin.IsZero() {
		told = report.Ports{Node: member, Use: rec.Use(begin, time.Now(), f.ports.Range), Lost: lost}
	}
	return told, joinClose(err, l)
}

// portsOfRecord reads a record of events.
func (p *program) portsOfRecord(file string, ports portuse.Range) (told report.Ports, err error) {
	in := io.NopCloser(p.in)
	if file != "-" {
		if in, err = openFile(file); err != nil {
			return told, err
		}
	}
	defer in.Close() //nolint:errcheck // it was read only
	var rec portuse.Recorder
	var begin, end time.Time
	err = conntrack.EachEvent(in, func(at time.Time, e nat.Event) error {
		if e.Kind == 0 {
			if !begin.IsZero() {
				return errors.New("an entry behind events: want what conntrack -L printed in front of them")
			}
			rec.Have(e.Entry)
			return nil
		}
		if begin.IsZero() {
			begin = at
		}
		if at.Before(end) {
			return errors.New("an event is older than the one before")
		}
		end = at
		rec.Event(at, e)
		return nil
	})
	if err != nil {
		return told, fmt.Errorf("--events %s: %w", file, err)
	}
	if file == "-" {
		file = "standard input"
	}
	return report.Ports{Node: file, Use: rec.Use(begin, end, ports)}, nil
}

// portsOfBundle is the moment that a bundle tells of.
func (p *program) portsOfBundle(file string, ports portuse.Range) (told report.Ports, err error) {
	n, err := p.readBundle(file)
	if err != nil {
		return told, err
	}
	if s, ok := n.Dump.Section("conntrack"); !ok || !s.OK() {
		return told, fmt.Errorf("--bundle %s: there are no connections in it: its section \"conntrack\" is missing or failed", file)
	}
	var rec portuse.Recorder
	for i := range n.Facts.Entries {
		c := &n.Facts.Entries[i]
		rec.Have(nat.Entry{Conn: nat.Conn{Original: c.Original, Reply: c.Reply, Status: c.Status, Mark: c.Mark}, Zone: c.Zone.In(nat.Reply)})
	}
	at, _ := time.Parse(time.RFC3339, n.Time) // the zero time where it is not told
	return report.Ports{Node: n.Name, Use: rec.Use(at, at, ports)}, nil
}

// portRange is the flag --range.
type portRange struct{ portuse.Range }

func (r *portRange) String() string { return fmt.Sprintf("%d-%d", r.Low, r.High) }

func (*portRange) Type() string { return "LOW-HIGH" }

// Set reads LOW-HIGH, or one port.
func (r *portRange) Set(text string) error {
	low, high, two := strings.Cut(text, "-")
	if !two {
		high = low
	}
	a, err := strconv.ParseUint(low, 10, 16)
	b, wrong := strconv.ParseUint(high, 10, 16)
	if err != nil || wrong != nil || a == 0 || a > b {
		return fmt.Errorf("want ports such as 1024-65535, got %q", text)
	}
	r.Range = portuse.Range{Low: uint16(a), High: uint16(b)}
	return nil
}
