package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"

	"natlab/topology"
	"natlab/topology/kube"
	"natlab/topology/near"
)

// getFlags are what the flags of get ask for.
type getFlags struct {
	in                   inputFlags
	name, namespace      string
	everywhere, headless bool
	form                 objectForm
}

func (p *program) get() *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:   "get services|pods|nodes|endpoints|TYPE/NAME [NAME]... [-n NAMESPACE | -A] [-f FILE]... [--name N] [-o wide|yaml|json|name|jsonpath=T|go-template=T]",
		Short: "List the Services, pods, nodes or endpoints of a lab, or of files, as kubectl get does",
		Long: `List the objects of a running lab, or with -f those that a lab of these files would have, in the columns of kubectl get and by its
forms of output. Several types stand with a comma between. What a lab does not hold of an object, such as its age or a Service's selector,
is listed as <unknown>, and left out of the objects. A lab has no Service that kube-proxy writes no rule for: no headless and no
ExternalName one.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, fmt.Errorf("no type given: there are %s", resourceNames()))
			}
			return nil
		},
	}
	f := cmd.Flags()
	g.in.add(cmd)
	f.StringVar(&g.name, "name", "", "the lab's name (default: the reference lab where it is up, else the only one)")
	f.StringVarP(&g.namespace, "namespace", "n", "default", "the namespace of Services, pods and endpoints")
	f.BoolVarP(&g.everywhere, "all-namespaces", "A", false, "those of all namespaces")
	f.BoolVar(&g.headless, "no-headers", false, "without the row of headings")
	f.VarP(&g.form, "output", "o", "the form of the output (default: a table)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.runGet(cmd, g, args) }
	return cmd
}

// objectForm is -o of get, in kubectl's words.
type objectForm struct{ word, template string }

func (o *objectForm) String() string { return o.word }

// Type is what --help shows as the flag's argument.
func (o *objectForm) Type() string { return "wide|yaml|json|name|jsonpath=T|go-template=T" }

// Set takes a form, with its template behind a "=".
func (o *objectForm) Set(text string) error {
	o.word, o.template, _ = strings.Cut(text, "=")
	switch o.word {
	case "wide", "yaml", "json", "name":
		if o.template == "" {
			return nil
		}
	case "jsonpath", "go-template":
		if o.template != "" {
			return nil
		}
		return fmt.Errorf("a template is missing: %s='{...}'", o.word)
	}
	return fmt.Errorf("want wide, yaml, json, name, jsonpath=TEMPLATE or go-template=TEMPLATE")
}

// printer prints objects in the form; nil for a table.
func (o *objectForm) printer() (printers.ResourcePrinter, error) {
	switch o.word {
	case "yaml":
		return &printers.YAMLPrinter{}, nil
	case "json":
		return &printers.JSONPrinter{}, nil
	case "name":
		return &printers.NamePrinter{}, nil
	case "jsonpath":
		template := o.template
		if !strings.Contains(template, "{") { // kubectl takes .items too
			template = "{." + strings.TrimPrefix(template, ".") + "}"
		}
		jp, err := printers.NewJSONPathPrinter(template)
		if err != nil {
			return nil, fmt.Errorf("-o jsonpath: %w", err)
		}
		jp.AllowMissingKeys(true)
		return jp, nil
	case "go-template":
		gt, err := printers.NewGoTemplatePrinter([]byte(o.template))
		if err != nil {
			return nil, fmt.Errorf("-o go-template: %w", err)
		}
		return gt, nil
	}
	return nil, nil
}

func resourceNames() string {
	var names []string
	for _, r := range kube.Resources() {
		names = append(names, r.Name)
	}
	return strings.Join(names, ", ")
}

// wantedObjects are objects of one type that are asked for: by their names, or all.
type wantedObjects struct {
	of    kube.Resource
	names []string
}

// wanted reads the arguments: TYPE[,TYPE]... [NAME]..., or TYPE/NAME...
func wanted(args []string) (out []wantedObjects, err error) {
	if !strings.Contains(args[0], "/") {
		for word := range strings.SplitSeq(args[0], ",") {
			r, err := resource(word)
			if err != nil {
				return nil, err
			}
			out = append(out, wantedObjects{r, args[1:]})
		}
		return out, nil
	}
	for _, arg := range args {
		word, name, _ := strings.Cut(arg, "/")
		r, err := resource(word)
		if err != nil {
			return nil, err
		}
		if name == "" {
			return nil, fmt.Errorf("%q: want TYPE/NAME", arg)
		}
		out = append(out, wantedObjects{r, []string{name}})
	}
	return out, nil
}

func resource(word string) (kube.Resource, error) {
	r, ok := kube.Find(word)
	if ok {
		return r, nil
	}
	var names []string
	for _, r := range kube.Resources() {
		names = append(append(names, r.Name), r.Short...)
	}
	return r, fmt.Errorf("no type %q; there are %s", word, resourceNames()+near.Mean(word, names))
}

// runGet is the command behind its flags.
func (p *program) runGet(cmd *cobra.Command, g getFlags, args []string) error {
	all, err := wanted(args)
	if err != nil {
		return usage(cmd, err)
	}
	c, running, err := p.listed(cmd.Context(), g)
	if err != nil {
		return err
	}
	printer, err := g.form.printer()
	if err != nil {
		return usage(cmd, err)
	}
	if printer == nil {
		return p.getTables(c, running, g, all)
	}
	var found []kube.Object
	for _, w := range all {
		objects, err := g.find(c, running, w)
		if err != nil {
			return err
		}
		found = append(found, objects...)
	}
	if len(found) == 1 && len(all[0].names) == 1 {
		return printer.PrintObj(found[0], p.out)
	}
	if g.form.word == "name" {
		for _, o := range found {
			if err := printer.PrintObj(o, p.out); err != nil {
				return err
			}
		}
		return nil
	}
	list := &corev1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, Items: []runtime.RawExtension{}}
	for _, o := range found {
		list.Items = append(list.Items, runtime.RawExtension{Object: o})
	}
	return printer.PrintObj(list, p.out)
}

// listed is the cluster whose objects are listed: of the files, or of a lab, which is running.
func (p *program) listed(ctx context.Context, g getFlags) (c topology.Cluster, running bool, err error) {
	switch {
	case g.in.given() && g.name != "":
		return c, false, errors.New("-f and --name exclude each other: the objects are those of files, or of a lab")
	case g.in.given():
		c, err = p.cluster(&g.in, topology.Load)
		return c, false, err
	}
	l, err := open(ctx, g.name)
	if err != nil {
		return c, false, err
	}
	return l.Cluster(), true, l.Close()
}

// find are the objects that are asked for. Those of a running lab's nodes are ready.
func (g getFlags) find(c topology.Cluster, running bool, w wantedObjects) (out []kube.Object, err error) {
	var there []string
	for _, o := range w.of.Objects(c) {
		if w.of.Namespaced && !g.everywhere && o.GetNamespace() != g.namespace {
			continue
		}
		if n, is := o.(*corev1.Node); is && running {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		}
		there = append(there, o.GetName())
		if len(w.names) == 0 {
			out = append(out, o)
		}
	}
	for _, name := range w.names {
		n := len(out)
		for _, o := range w.of.Objects(c) {
			if o.GetName() == name && (!w.of.Namespaced || g.everywhere || o.GetNamespace() == g.namespace) {
				out = append(out, o)
			}
		}
		if len(out) == n {
			return nil, fmt.Errorf("no %s %q%s; %s", w.of.Kind, name, g.where(w.of), near.There(name, there))
		}
	}
	return out, nil
}

// where is where a resource is looked for.
func (g getFlags) where(r kube.Resource) string {
	if !r.Namespaced || g.everywhere {
		return ""
	}
	return " in namespace " + g.namespace
}

// getTables prints a table for each type. Names have their types in front where there are several.
func (p *program) getTables(c topology.Cluster, running bool, g getFlags, all []wantedObjects) error {
	width := kube.Narrow
	if g.form.word == "wide" {
		width = kube.Wide
	}
	printed := 0
	for _, w := range all {
		objects, err := g.find(c, running, w)
		if err != nil {
			return err
		}
		if len(objects) == 0 {
			continue
		}
		if printed++; printed > 1 {
			if _, err := io.WriteString(p.out, "\n"); err != nil {
				return err
			}
		}
		o := printers.PrintOptions{Wide: width == kube.Wide, WithNamespace: g.everywhere && w.of.Namespaced, NoHeaders: g.headless}
		if len(all) > 1 {
			o.WithKind, o.Kind.Kind = true, strings.ToLower(w.of.Kind)
		}
		var table strings.Builder
		if err := printers.NewTablePrinter(o).PrintObj(w.of.Table(objects, width), &table); err != nil {
			return err
		}
		if _, err := io.WriteString(p.out, p.style().FoldTable(table.String())); err != nil {
			return err
		}
	}
	if printed == 0 {
		_, err := fmt.Fprintf(p.err, "No resources found%s\n", map[bool]string{true: "", false: " in " + g.namespace + " namespace."}[g.everywhere])
		return err
	}
	return nil
}
