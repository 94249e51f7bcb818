package scenarios

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/lab/sysctl"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/view"
)

// doIptables: iptables NODE ARGS... runs the iptables program of the run's backend in a node, as another agent would;
// iptables legacy:NODE or nft:NODE that of the named one. Where NAT is natlab's own the node's gateway gets the edited rules.
func doIptables(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("iptables [legacy:|nft:]NODE ARGS...")
	}
	backend, node, named := strings.Cut(args[0], ":")
	program := "iptables-" + backend
	if !named {
		node, program = args[0], string(s.lab.Backend())
	}
	if program == string(dataplane.Userspace) {
		return s.edit(not, node, args[1:])
	}
	if s.job.scenario.ipv6 {
		program = "ip6" + strings.TrimPrefix(program, "ip")
	}
	return s.exec(ts, not, node, append([]string{program, "-w"}, args[1:]...)) // -w: other labs may be at work
}

// edit carries one command of iptables out on the rules that a node's gateway obeys.
func (s *stage) edit(not bool, node string, args []string) error {
	now, err := s.lab.Network(s.ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(now.Held[node], func(in dataplane.Installed) bool { return in.Backend == dataplane.Userspace })
	if at < 0 {
		return fmt.Errorf("node %q has no gateway", node)
	}
	rs, err := edited(now.Held[node][at].Rules, args)
	if not {
		if err == nil {
			return fmt.Errorf("iptables %s in %s: it works, and must not", strings.Join(args, " "), node)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("iptables %s in %s: %w", strings.Join(args, " "), node, err)
	}
	return s.lab.Install(s.ctx, node, rs)
}

// edited is the table of a rule set that a command of iptables changes, changed.
func edited(rs iptables.Ruleset, args []string) (iptables.Ruleset, error) {
	table := "filter"
	if len(args) > 1 && args[0] == "-t" {
		table, args = args[1], args[2:]
	}
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = strconv.Quote(a)
	}
	one := iptables.Ruleset{Family: rs.Family}
	for _, t := range rs.Tables {
		if t.Name == table {
			one.Tables = append(one.Tables, t)
		}
	}
	text := one.String()
	if len(one.Tables) == 0 {
		text = "*" + table + "\nCOMMIT\n"
	}
	return iptables.ParseString(strings.Replace(text, "COMMIT\n", strings.Join(words, " ")+"\nCOMMIT\n", 1), rs.Family)
}

// doRun: run MEMBER PROGRAM ARGS... runs a program in a namespace; its output is for stdout and stderr to look at.
func doRun(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("run MEMBER PROGRAM ARGS...")
	}
	return s.exec(ts, not, args[0], args[1:])
}

func (s *stage) exec(ts *testscript.TestScript, not bool, member string, argv []string) error {
	var out, errs bytes.Buffer
	status, err := s.lab.Exec(s.ctx, member, argv, lab.Streams{Out: &out, Err: &errs})
	if err != nil {
		return err
	}
	if _, err := ts.Stdout().Write(out.Bytes()); err != nil {
		return err
	}
	if _, err := ts.Stderr().Write(errs.Bytes()); err != nil {
		return err
	}
	if (status == 0) == not {
		return fmt.Errorf("%s in %s: status %d: %s", strings.Join(argv, " "), member, status, strings.TrimSpace(errs.String()))
	}
	return nil
}

// doSysctl: sysctl MEMBER KEY=VALUE...
func doSysctl(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 2 {
		return usagef("sysctl MEMBER KEY=VALUE...")
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	return h.Do(func() error {
		for _, a := range args[1:] {
			key, value, ok := strings.Cut(a, "=")
			if !ok || strings.Contains(key, "..") {
				return usagef("%q: want KEY=VALUE", a)
			}
			if !strings.Contains(key, "/") {
				key = strings.ReplaceAll(key, ".", "/")
			}
			if err := sysctl.Write(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// doServer: server stop|start NAMESPACE/POD.
func doServer(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	switch {
	case !not && len(args) == 2 && args[0] == "stop":
		return s.lab.StopServer(s.ctx, args[1])
	case !not && len(args) == 2 && args[0] == "start":
		return s.lab.StartServer(s.ctx, args[1])
	}
	return usagef("server stop|start NAMESPACE/POD")
}

// doListen: listen MEMBER tcp|udp ADDRESS:PORT starts a server of the member's own, which answers as MEMBER until the end.
func doListen(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 3 {
		return usagef("listen MEMBER tcp|udp ADDRESS:PORT")
	}
	proto, err := nat.ParseProto(args[1])
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return usagef("%q: want ADDRESS:PORT", args[2])
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	server, err := traffic.Serve(h, args[0], proto, at)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, server)
	return nil
}

// doView: view NODE VERSION [style=list] prints a node's rules as a version of iptables shows them, for stdout to look at.
func doView(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) < 2 {
		return usagef("view NODE VERSION [style=save|list]")
	}
	o, err := options(args[2:], "style")
	if err != nil {
		return err
	}
	version, err := view.ParseVersion(args[1])
	if err != nil {
		return err
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	raw, err := inspect.Read(h, dataplane.Legacy, nat.IPv4)
	if err != nil {
		return err
	}
	view := view.View{Version: version, Sets: raw.Sets}
	text, _ := view.Save(raw.Tables...)
	if o["style"] == "list" {
		text, _ = view.List(raw.Tables...)
	}
	_, err = ts.Stdout().Write([]byte(text))
	return err
}

// doAudit: audit NODE KIND... holds if natlab audit finds each of the kinds in the node; ! audit NODE if it finds nothing.
func doAudit(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) == 0 || not && len(args) > 1 || !not && len(args) < 2 {
		return usagef("audit NODE KIND..., or ! audit NODE")
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	findings, err := inspect.Audit(s.ctx, h, s.lab.Cluster(), args[0], inspect.Options{Backend: s.lab.Backend(), Lab: true})
	if err != nil {
		return err
	}
	kinds := map[string]bool{}
	for _, f := range findings {
		kinds[string(f.Kind)] = true
		if _, err := fmt.Fprintf(ts.Stdout(), "%s: %s\n", f.Kind, f.What); err != nil {
			return err
		}
	}
	if not && len(findings) > 0 {
		return fmt.Errorf("%s: want no finding, got %d; the first is %s: %s", args[0], len(findings), findings[0].Kind, findings[0].What)
	}
	for _, k := range args[1:] {
		if !kinds[k] {
			return fmt.Errorf("%s: want a finding %q, got %v", args[0], k, kinds)
		}
	}
	return nil
}
