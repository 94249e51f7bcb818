package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/topology"
	"natlab/topology/near"
)

// verifyFlags are what the flags of verify ask for.
type verifyFlags struct {
	in          inputFlags
	name        *string
	only        proof.Selector
	brief, draw bool
	strict      bool
	record      string
	shard       string
	failFast    bool
	timeout     time.Duration
	format      *choice
	allow       *choice
	planes      planes
	apply       applyFlag
	proxy       proxyFlags
}

// allowNotAsked is the word of --allow.
const allowNotAsked = "not-asked"

func (p *program) verify() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [-f FILE]... [--name N] [--service NS/NAME[:PORT]] [--from CLIENT] [--to ADDRESS[:PORT]] [--planes P,... [--apply mark|payload] | --kube-proxy BINARY|RELEASE [--mode iptables|nftables|ipvs]] [-o text|json|junit|mermaid|html|svg|pcapng]",
		Short: "Prove what the NAT of a lab does, flow by flow",
		Long: `Predict every flow that the Services call for, drive it, watch it, and compare: the request, the reply, the rules that
both met, and connection tracking. A flow is proved where the Service works as it has to and the nodes do what their own
rules and routes call for, whoever wrote these; --strict asks for kube-proxy's own rules, one for one. Exit status 1 means
that a flow is disproved, that too little was seen of it, or that an address of a Service was not asked, which --allow
not-asked lets pass. A proof that is interrupted, or whose time is over, prints what it found, and what it did not ask.

With -f the files decide what has to happen: a lab of its own is built for the proof and taken away, of a large cluster as
much as the flows of a --service have to do with. With --name too, a lab of that name is proved where it is up.

With --kube-proxy a lab of its own is built of the files, or of the reference cluster, whose rules a real kube-proxy writes in each
node: a program, or a release, which is built once. What has to happen is decided by the Services all the same.

With --planes a lab of its own is built of the files, or of the reference cluster, for each of these data planes, one after the
other, and the same flows are proved in all: a table has a row for each and a column for each plane, what differs first. The
kernel's results judge natlab's own. Exit status 1 means that planes differ, or that a flow is not proved on one.

Text draws the way of the flows that were asked for by --service, --from or --to, and of those that are not proved; where it
does not go to a terminal, or with --draw, that of every flow. mermaid draws the same ways as one sequence diagram, html as one page, svg as one picture; pcapng is a
capture of the packets of all flows for Wireshark and tcpdump, with what each met in its comments.`,
		Args: noArgs,
	}
	v.in.add(cmd)
	v.name = named(cmd)
	v.selecting(cmd)
	f := cmd.Flags()
	f.StringVar(&v.shard, "shard", "", "I/N: the Ith of N parts of the flows, each of which is always in the same one")
	f.BoolVar(&v.strict, "strict", false, "ask for kube-proxy's own rules too, and not only for what the Services call for")
	f.StringVar(&v.record, "record", "", "keep all of the run in this directory, for natlab replay")
	f.BoolVar(&v.failFast, "fail-fast", false, "end at the first flow that is disproved")
	f.DurationVar(&v.timeout, "timeout", 10*time.Minute, "how long the proof may take; 0 for as long as it takes")
	v.apply.add(f)
	f.Var(&v.planes, "planes", "prove the same flows on each of these data planes, and compare; two or three of them, a comma between")
	v.proxy.add(f)
	v.format = proofForms(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if v.brief && v.draw {
			return usage(cmd, errors.New("--brief and --draw exclude each other"))
		}
		if v.timeout < 0 {
			return usage(cmd, fmt.Errorf("--timeout %s: want 0 or more", v.timeout))
		}
		if v.shard != "" {
			var err error
			if v.only.Shard, v.only.Shards, err = shardOf(v.shard); err != nil {
				return usage(cmd, err)
			}
		}
		if cmd.Flags().Changed("apply") && len(v.planes) == 0 {
			return usage(cmd, errors.New("--apply is of --planes: a lab that is up has what natlab up --apply gave it"))
		}
		if len(v.planes) > 0 {
			return p.verifyPlanes(cmd, v)
		}
		if err := p.binary(v.format); err != nil {
			return usage(cmd, err)
		}
		found, err := p.prove(cmd.Context(), v)
		if err != nil {
			return p.nothingRan(v.format, "natlab.verify", err)
		}
		return p.reported(found, v)
	}
	return cmd
}

// selecting adds the flags that choose flows, and how much of them is shown.
func (v *verifyFlags) selecting(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.only.Service, "service", "", "only flows to this Service, NAMESPACE/NAME or NAMESPACE/NAME:PORT")
	f.StringVar(&v.only.From, "from", "", "only flows from this client: a node, a pod (NAMESPACE/NAME) or an outside client")
	f.StringVar(&v.only.To, "to", "", "only flows to this address, or address and port, as the client asks it")
	f.BoolVar(&v.brief, "brief", false, "a line for each kind of flow, and the ways of a few that are not proved")
	f.BoolVar(&v.draw, "draw", false, "draw the way of every flow")
	v.allow = &choice{words: []string{allowNotAsked}}
	f.Var(v.allow, "allow", "not-asked: addresses of Services that cannot be asked are no failure")
}

// reported writes a report; it is errDiffers where not all is proved.
func (p *program) reported(found proof.Report, v verifyFlags) error {
	if err := p.writeReport(found, v); err != nil {
		return err
	}
	if found.Outcome() != proof.Proved || len(found.NotAsked) > 0 && v.allow.value != allowNotAsked {
		return errDiffers
	}
	return nil
}

// prove opens the lab, or builds one, and verifies it.
func (p *program) prove(ctx context.Context, v verifyFlags) (found proof.Report, err error) {
	o := verify.Options{Selector: v.only, Strict: v.strict, FailFast: v.failFast, Record: v.record, Keep: v.format.value == formPcapng, Timeout: v.timeout, Progress: p.progress()}
	l, err := p.labToVerify(ctx, v, &o)
	if err != nil {
		return proof.Report{}, err
	}
	found, err = verify.Lab(ctx, l, o)
	if err := joinClose(err, l); err != nil {
		return proof.Report{}, err
	}
	if len(found.Flows) == 0 && found.Ended == "" {
		return proof.Report{}, fmt.Errorf("lab %s has no flow%s%s", l.Name(), selection(v.only), p.chosenOf(l.Cluster(), v.only))
	}
	return found, nil
}

// labToVerify is the lab to prove. One that was built for the proof is taken away when it is closed.
func (p *program) labToVerify(ctx context.Context, v verifyFlags, o *verify.Options) (*lab.Lab, error) {
	if !v.in.given() && v.proxy.what == "" {
		return open(ctx, *v.name)
	}
	c, err := p.cluster(&v.in, topology.Load)
	if err != nil {
		return nil, err
	}
	made := lab.Options{Progress: p.progress()}
	if made.KubeProxy, err = v.proxy.into(ctx, p, &c); err != nil {
		return nil, err
	}
	if *v.name == "" { // a lab of its own, whoever else verifies the same files
		c.Name = ownName(c.Name)
		if made.KubeProxy == "" {
			c, o.Notes = needed(c, v.only)
		}
		return lab.Up(ctx, c, made)
	}
	c.Name = *v.name
	o.Intent = &c
	l, err := lab.Open(ctx, c.Name)
	if errors.Is(err, lab.ErrNoLab) {
		return lab.Up(ctx, c, made)
	}
	if err == nil && !sameInput(l.Cluster(), c) {
		_, err = fmt.Fprintf(p.err, "lab %s was made from other input: these files decide what has to happen, and what is wired stays as it is\n", c.Name)
	}
	return l, err
}

// wholeLab is how many Services and pods a cluster has at most whose lab is built whole, whatever is asked.
const wholeLab = 128

// needed is as much of a cluster as the lab of a proof of one Service has to hold, and the note that tells of it.
func needed(c topology.Cluster, only proof.Selector) (topology.Cluster, []string) {
	if len(c.Services) <= wholeLab && len(c.Pods) <= wholeLab {
		return c, nil
	}
	part := proof.Part(c, only)
	if len(part.Services) == len(c.Services) && len(part.Pods) == len(c.Pods) {
		return c, nil
	}
	return part, []string{fmt.Sprintf("the lab has %d of %d Services and %d of %d pods, all that the flows have to do with; natlab up makes one with all of them",
		len(part.Services), len(c.Services), len(part.Pods), len(c.Pods))}
}

// maxName is how long the name of a lab may be.
const maxName = 32

// ownName is a name that no other lab has: the cluster's with a random word behind it.
func ownName(name string) string {
	word := strings.ToLower(rand.Text()[:6])
	return strings.TrimRight(name[:min(len(name), maxName-1-len(word))], "-") + "-" + word
}

// sameInput reports whether a lab was made from what the files hold, Services and their endpoints aside.
func sameInput(made, files topology.Cluster) bool {
	made.Services, files.Services = nil, nil
	a, err1 := json.Marshal(made)
	b, err2 := json.Marshal(files)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// selection is " to Service a/b from c", as far as there is a selection.
func selection(s proof.Selector) string {
	var b strings.Builder
	if s.Service != "" {
		fmt.Fprintf(&b, " to a Service port %s", s.Service)
	}
	if s.From != "" {
		fmt.Fprintf(&b, " from a client %s", s.From)
	}
	if s.To != "" {
		fmt.Fprintf(&b, " to the address %s", s.To)
	}
	if s.Shards > 0 {
		fmt.Fprintf(&b, " in shard %d/%d", s.Shard, s.Shards)
	}
	return b.String()
}

// chosenOf is what there is in place of a Service or a client that is not there.
func (p *program) chosenOf(c topology.Cluster, s proof.Selector) string {
	var services, clients []string
	for _, sv := range c.Services {
		services = append(services, sv.Namespace+"/"+sv.Name)
	}
	clients = clientsOf(c)
	service, _, _ := strings.Cut(s.Service, ":")
	switch {
	case s.Service != "" && !slices.Contains(services, service):
		return "; " + near.There(service, services)
	case s.From != "" && !slices.Contains(clients, s.From):
		return "; " + near.There(s.From, clients)
	}
	return ""
}

// clientsOf are all that can ask: nodes, pods and outside clients.
func clientsOf(c topology.Cluster) (names []string) {
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	for _, p := range c.Pods {
		names = append(names, p.Member())
	}
	for _, cl := range c.Clients {
		names = append(names, cl.Name)
	}
	return names
}

func (p *program) writeReport(found proof.Report, v verifyFlags) error {
	detail := report.DrawUnproved
	v.only.Shard, v.only.Shards = 0, 0 // a shard is not what somebody looks at
	switch {
	case v.brief:
		detail = report.Brief
	case v.draw, v.only != (proof.Selector{}), !terminal(p.out):
		detail = report.DrawAll
	}
	return p.printReport(found, v.format.value, detail)
}
