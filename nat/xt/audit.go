package xt

import "natlab/nat/rules"

// Audit is -j AUDIT: the packet is reported to the audit log as one that is accepted, dropped or rejected, whatever becomes
// of it, and goes on (xt_AUDIT.c).
type Audit struct{ Type AuditType }

// AuditType is what the report calls the packet (XT_AUDIT_TYPE_*).
type AuditType uint8

var auditTypes = []string{"accept", "drop", "reject"}

var auditRow = Extension{
	Name: "AUDIT", Kind: TargetKind,
	Options:  []Option{{Name: "--type", Values: 1}},
	Examples: []string{"--type accept", "--type drop", "--type reject"},
	Parse: func(a *Args) Value {
		var t Audit
		a.Once()
		a.Need("--type")
		for g := range a.Options {
			t.Type = AuditType(g.Choice(true, auditTypes...))
		}
		return t
	},
	// struct xt_audit_info { __u8 type; }
	Layouts: layouts(layout(0, 1,
		func(d []byte, _ *Env) (Audit, bool) { return Audit{AuditType(d[0])}, int(d[0]) < len(auditTypes) },
		func(t Audit, d []byte, _ *Env) error { d[0] = uint8(t.Type); return nil })),
	Listed: listedValue("AUDIT ", "--type"),
}

// Name is "AUDIT".
func (Audit) Name() string { return "AUDIT" }

// Save prints the type.
func (t Audit) Save(p *Printer) { p.Option(false, "--type", auditTypes[t.Type]) }

// List prints the type as iptables -L does.
func (t Audit) List(p *Printer) { p.Text(" AUDIT ", auditTypes[t.Type]) }

// Act goes on.
func (Audit) Act(*rules.Visit) rules.Action { return rules.Continue() }
