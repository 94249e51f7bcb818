package main

import (
	_ "embed" // for the schema
	"fmt"
	"io"
	"reflect"

	"natlab/lab"
	"natlab/lab/doctor"
	"natlab/lab/witness"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/live"
	"natlab/nat/migrate"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/scenarios"
	"natlab/scenarios/conformance"
	"natlab/topology"
)

// schema is the JSON Schema of all documents; TestSchema makes it of their types and of the manual.
//
//go:embed schema.json
var schema string

// kindScenarioResults is the kind of what scenario run prints, which scenario grid reads.
const kindScenarioResults = "ScenarioResultList"

// documentKind is a kind of JSON document that commands print.
type documentKind struct {
	kind    string
	heading string // of its section in the manual; its first word is the command that prints it, and others print it, too
	of      reflect.Type
	also    []string
}

// doctorReport is what doctor -o json prints.
type doctorReport struct {
	Features []doctor.Feature `json:"features"`
}

// documentKinds are all of them. Of a slice the document is a list, whose kind ends in List.
func documentKinds() []documentKind {
	return []documentKind{
		{report.KindProof, "verify -o json", reflect.TypeFor[proof.Report](), []string{"ask", "replay"}},
		{"PlaneComparison", "verify --planes -o json", reflect.TypeFor[proof.Comparison](), nil},
		{report.KindFlow, "watch -o json", reflect.TypeFor[live.Flow](), nil},
		{"ConntrackEntryList", "conntrack -o json", reflect.TypeFor[[]describedEntry](), nil},
		{kindConntrackEvent, "conntrack --watch -o json", reflect.TypeFor[describedEvent](), nil},
		{"ConntrackCounters", "conntrack --stats -o json", reflect.TypeFor[witness.Counters](), nil},
		{"PortUse", "ports -o json", reflect.TypeFor[report.Ports](), nil},
		{"ApplyResult", "apply -o json", reflect.TypeFor[lab.Applied](), nil},
		{"LabStatus", "status -o json", reflect.TypeFor[labList](), nil},
		{"DoctorReport", "doctor -o json", reflect.TypeFor[doctorReport](), nil},
		{"AuditReport", "audit -o json", reflect.TypeFor[auditReport](), nil},
		{"ExplanationList", "explain -o json", reflect.TypeFor[[]explanation](), nil},
		{"DiagnosisCode", "explain --code -o json", reflect.TypeFor[diagnosis.Page](), nil},
		{"DifferenceList", "diff -o json", reflect.TypeFor[[]gateway.Difference](), nil},
		{"BundleChangeList", "diff -o json, of bundles", reflect.TypeFor[[]bundle.Change](), nil},
		{"MigrationReport", "migrate -o json", reflect.TypeFor[migrate.Report](), nil},
		{"Plan", "plan -o json", reflect.TypeFor[topology.Plan](), nil},
		{"ScenarioList", "scenario list -o json", reflect.TypeFor[[]scenarios.Scenario](), nil},
		{kindScenarioResults, "scenario run -o json", reflect.TypeFor[[]scenarios.Result](), nil},
		{"ConformanceResultList", "conformance -o json", reflect.TypeFor[[]conformance.Result](), nil},
		{"ConformanceTestList", "conformance --list -o json", reflect.TypeFor[[]conformance.Test](), nil},
	}
}

// writeJSON writes what -o json prints: a document of the kind that the value's type is of.
func writeJSON(w io.Writer, v any) error {
	typ := reflect.TypeOf(v)
	for _, d := range documentKinds() {
		if d.of == typ {
			return report.Document(w, d.kind, v)
		}
	}
	return fmt.Errorf("%s is no kind of document", typ)
}
