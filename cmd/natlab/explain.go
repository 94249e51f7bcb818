package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/report"
	"natlab/topology"
	"natlab/topology/near"
)

// explainFlags are what the flags of explain ask for.
type explainFlags struct {
	in     inputFlags
	node   nodeFlags
	packet packetFlags
	bundle []string
	rules  []string
	conns  []string
	socks  []string
	why    string
	code   string
	seed   uint64
	limit  time.Duration
	dice   conntrack.Chance // nil: every way
	format *choice
}

func (p *program) explain() *cobra.Command {
	var e explainFlags
	cmd := &cobra.Command{
		Use:   "explain [-f FILE]... --packet 'tcp SRC:PORT > DST:PORT' --from CLIENT | --node NODE | --bundle FILE | --rules FILE",
		Short: "Predict a packet's path and its answer's: rules, translations, marks, conntrack; no root",
		Long: `Predict what happens to a packet and to the answer to it, on every way that chance leaves open: each rule that it meets,
where it is rewritten, its marks, and the conntrack entry. Nothing is sent, and no root is needed.

With --from the packet goes through the whole cluster, from a node, pod or client; --rules NODE=FILE replaces a node's
rules by those that iptables-save printed. Without it the packet goes through one node: --node takes its devices,
addresses and routes from the cluster and kube-proxy's rules for it, unless --rules gives others; --link, --address
and --route describe a node that is in no cluster. --bundle FILE takes all of it from what the script of natlab collect printed on a
node; an option given beside it takes the place of what the bundle has of that.

The first line tells in a word whether the packet works: works, broken, depends or unknown. Behind it stand what is to blame, each by a code
of which --code prints a page, and the rules that decide.

mermaid draws the ways as one sequence diagram, html as one page with each packet's mind map, svg as one picture of the same.

--why tells of a rule, or of each rule of a chain, whether the packet met it, and which condition failed first where not.
With --from it looks at the nodes that the packet comes to, or at the one named in front of the chain.`,
		Args: noArgs,
	}
	e.in.add(cmd)
	e.node.add(cmd)
	e.packet.add(cmd)
	cmd.Flags().StringArrayVar(&e.rules, "rules", nil, "the output of iptables-save or iptables -S, or rows and commands, of both families, or of nft [-j] list ruleset; - is standard input; with --from, NODE=FILE; may be repeated")
	cmd.Flags().StringArrayVar(&e.bundle, "bundle", nil, "what the script of natlab collect printed on a node; with --from, NODE=FILE: that node of the cluster; - is standard input; may be repeated")
	cmd.Flags().StringArrayVar(&e.conns, "conntrack", nil, "the output of conntrack -L, or /proc/net/nf_conntrack: the connections that the node remembers; may be repeated")
	cmd.Flags().StringArrayVar(&e.socks, "sockets", nil, "the output of ss -lntup or netstat -lntup: who listens on the node; may be repeated")
	cmd.Flags().StringVar(&e.why, "why", "", "CHAIN, CHAIN:NUMBER, TABLE:CHAIN:NUMBER or a rule's text; with --from also NODE in front of it")
	cmd.Flags().StringVar(&e.code, "code", "", "print the page of a code, such as masquerade.missing: what it means, how it is seen, what to do; nothing else is looked at")
	cmd.Flags().Uint64Var(&e.seed, "seed", 0, "show one way, which a random number generator of this seed chooses, with its ports, instead of all")
	e.format = output(cmd, "text", "json", "mermaid", "html", "svg")
	timeout(cmd, &e.limit)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return within(e.limit, func() error { return p.runExplain(cmd, &e) })
	}
	return cmd
}

// runExplain is the command behind its flags.
func (p *program) runExplain(cmd *cobra.Command, e *explainFlags) error {
	if e.code != "" {
		return p.printCode(e)
	}
	if cmd.Flags().Changed("seed") {
		e.dice = rand.New(rand.NewPCG(e.seed, 0)) // #nosec G404 -- the same again for the same seed is what it is for
	}
	packets, err := e.packet.all(p.in)
	switch {
	case err != nil:
		return err
	case len(packets) == 0:
		return usage(cmd, errors.New("--packet or --packets is needed: which packet is sent"))
	case packets[0].From == "" && e.node.alone() && len(e.rules)+len(e.bundle) == 0:
		return usage(cmd, errors.New("--from, --node, --bundle or --rules is needed: who sends the packet, or which node it comes to"))
	}
	for _, a := range packets {
		if (a.From == "") != (packets[0].From == "") {
			return errors.New("--packets: some lines have a from, and some do not: want all or none")
		}
	}
	if packets[0].From != "" {
		if e.node.described() || len(e.conns)+len(e.socks) > 0 {
			return errors.New("--from takes all nodes from the cluster: leave --node, --link, --address, --route, --sysctl, --conntrack and --sockets out")
		}
		return p.explainCluster(e, packets)
	}
	return p.explainNode(e, packets)
}

// printCode prints a code's page.
func (p *program) printCode(e *explainFlags) error {
	page, err := diagnosis.Find(e.code)
	if err != nil {
		return fmt.Errorf("--code: %w", err)
	}
	switch e.format.value {
	case "text":
	case "json":
		return writeJSON(p.out, page)
	default:
		return fmt.Errorf("--code has no -o %s: want text or json", e.format.value)
	}
	_, err = io.WriteString(p.out, p.fit(page.String()))
	return err
}

// explanation is what -o json prints of a packet.
type explanation struct {
	Packet string           `json:"packet"`
	From   string           `json:"from,omitempty"`
	In     string           `json:"in,omitempty"`
	Answer diagnosis.Answer `json:"answer"`

	// The way that the answer is about.
	Forward []diagnosis.Leg `json:"forward"`
	Return  []diagnosis.Leg `json:"return"`

	Ways nat.Prediction   `json:"ways"`
	Why  []gateway.Reason `json:"why,omitempty"`
}

// explainNode follows packets through one node.
func (p *program) explainNode(e *explainFlags, packets []gateway.Spec) error {
	c, err := p.oneNode(e)
	if err != nil {
		return err
	}
	var out []explanation
	for _, a := range packets {
		if a.In, err = deviceOf(c.Namespace, a); err != nil {
			return err
		}
		a.Routed = a.Device == ""
		a = a.Anew(&c.Facts)
		c.Ask, c.AnyPort = a.Ask, a.AnyPort
		one := c.ofFamily()
		x, err := gateway.Explain(one.Namespace, one.Rules, one.Facts, one.Ask, e.dice)
		if err != nil {
			return fmt.Errorf("explain: %w", err)
		}
		found := explanation{Packet: a.Tuple.String(), In: a.In, Answer: one.Diagnose(x.Prediction), Ways: x.Prediction}
		found.Forward, found.Return = diagnosis.Paths(x.Prediction)
		if e.why != "" {
			if found.Why, err = x.Why(e.why); err != nil {
				return err
			}
		}
		out = append(out, found)
	}
	p.tellRemedies(c.Namespace, out)
	return p.printExplanations(e, out)
}

// deviceOf is the device that a packet comes in by.
func deviceOf(ns topology.Namespace, a gateway.Spec) (string, error) {
	switch a.Device {
	case "node":
		return "", nil
	case "":
		dev, ok := gateway.Arrives(ns, a.Tuple.Src().Addr())
		if !ok {
			return "", fmt.Errorf("packet %s: %s has no route to its source: add --in DEVICE", a.Tuple, ns.Member)
		}
		return dev, nil
	}
	return a.Device, nil
}

// explainCluster follows packets through the whole cluster.
func (p *program) explainCluster(e *explainFlags, packets []gateway.Spec) error {
	c, err := p.cluster(&e.in, topology.Load)
	if err != nil {
		return err
	}
	facts, err := p.facts(&e.node, topology.Namespace{})
	if err != nil {
		return err
	}
	network, dumped, err := p.clusterNetwork(c, e, facts)
	if err != nil {
		return err
	}
	var out []explanation
	for _, a := range packets {
		if names := clientsOf(c); !slices.Contains(names, a.From) {
			return fmt.Errorf("packet %s: the cluster has no client %q; %s", a.Tuple, a.From, near.There(a.From, names))
		}
		if a.UID.Known || a.GID.Known {
			return fmt.Errorf("packet %s: uid and gid are of a packet that the node itself sends: leave --from out", a.Tuple)
		}
		if proto := a.Tuple.Proto(); proto != nat.TCP && proto != nat.UDP {
			return fmt.Errorf("packet %s: with --from, want tcp or udp", a.Tuple)
		}
		x, err := network.Explain(nat.Probe{From: a.From, Tuple: a.Tuple}, e.dice)
		if err != nil {
			return fmt.Errorf("explain: %w", err)
		}
		found := explanation{Packet: a.Tuple.String(), From: a.From, Answer: diagnosis.Of(x.Prediction), Ways: x.Prediction}
		found.Answer = doubted(found.Answer, dumped, x.Prediction)
		found.Forward, found.Return = diagnosis.Paths(x.Prediction)
		if e.why != "" {
			if found.Why, err = x.Why(e.why); err != nil {
				return err
			}
		}
		out = append(out, found)
	}
	return p.printExplanations(e, out)
}

func (p *program) printExplanations(e *explainFlags, all []explanation) error {
	switch e.format.value {
	case "text":
	case "json":
		return writeJSON(p.out, all)
	default:
		return p.drawExplanations(e.format.value, all)
	}
	style := p.style()
	style.Lines = len(e.rules)+len(e.bundle) > 0
	for i, x := range all {
		if i > 0 {
			if _, err := fmt.Fprintln(p.out); err != nil {
				return err
			}
		}
		probe, err := x.probe()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(p.out, p.fit(printable(x.Answer.String()))+"\n"); err != nil {
			return err
		}
		if _, err := io.WriteString(p.out, report.Ways(probe, printableWays(x.Ways), style)); err != nil {
			return err
		}
		if _, err := io.WriteString(p.out, p.fit(printable(reasonsText(x.Why, len(x.Ways))))); err != nil {
			return err
		}
	}
	return nil
}

// probe is the packet, from whom it comes.
func (x explanation) probe() (nat.Probe, error) {
	tuple, err := nat.ParseTuple(x.Packet)
	if err != nil {
		return nat.Probe{}, err
	}
	from := x.From
	if from == "" {
		from = tuple.Src().Addr().String()
	}
	return nat.Probe{From: from, Tuple: tuple}, nil
}

// drawExplanations draws the ways of all packets.
func (p *program) drawExplanations(form string, all []explanation) error {
	var out []report.Foretold
	for _, x := range all {
		probe, err := x.probe()
		if err != nil {
			return err
		}
		out = append(out, report.Foretold{Probe: probe, Ways: x.Ways})
	}
	return report.Predicted(p.out, form, out)
}

// reasonsText is a line for each reason; one that several ways share is told once.
func reasonsText(all []gateway.Reason, ways int) string {
	var lines []string
	in := map[string][]string{}
	for _, r := range all {
		line := fmt.Sprintf("%s, %s: %s", r.Direction, r.Hook, r)
		if in[line] == nil {
			lines = append(lines, line)
		}
		in[line] = append(in[line], strconv.Itoa(r.Way))
	}
	var b strings.Builder
	for _, line := range lines {
		if len(in[line]) < ways {
			fmt.Fprintf(&b, "way %s, ", strings.Join(in[line], ", "))
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
