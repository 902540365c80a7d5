package sources

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/mixillo/remediator/internal/alert"
)

// Sample implements Sender by turning the expressions round, which can be done for plain chains of fields and comparisons of such with
// what is written out. What comes out is read again: a body that does not say what was asked for is an error.
func (g *Generic) Sample(s Sample) ([]byte, error) {
	m, err := g.compiled()
	if err != nil {
		return nil, err
	}
	made := sketch{}
	made.draw(m, s)
	payload, _ := made.get(nil)
	body, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("writing the sample: %w", err)
	}
	if err := g.says(body, s); err != nil {
		return nil, fmt.Errorf("the source's expressions cannot be turned round to make a sample, write the body yourself: %w", err)
	}
	return body, nil
}

// says checks that a body tells of the sample.
func (g *Generic) says(body []byte, s Sample) error {
	d, err := g.Parse(body, s.At)
	if err != nil {
		return err
	}
	if len(d.Alerts) != 1 {
		return fmt.Errorf("the body holds %d alerts", len(d.Alerts))
	}
	a := d.Alerts[0]
	if a.Status != s.Status {
		return fmt.Errorf("the alert is %s", a.Status)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if a.Labels[name] != s.Labels[name] {
			return fmt.Errorf("the label %q is %q", clip(name), clip(a.Labels[name]))
		}
	}
	return nil
}

// sketch is a payload in the making.
type sketch struct{ root any }

func (k *sketch) draw(m *genericMapping, s Sample) {
	if m.each != nil {
		if at, ok := chain(m.each.expr(), nil); ok {
			k.put(at, []any{map[string]any{}})
		}
	}
	holds, not := m.firing, m.resolved
	if s.Status == alert.Resolved {
		holds, not = not, holds
	}
	k.state(m, holds, true) // first: what makes the other not hold would leave it open which one does
	k.state(m, not, false)
	k.state(m, m.ignore, false)
	for _, name := range slices.Sorted(maps.Keys(m.labels)) {
		if value, ok := s.Labels[name]; ok {
			k.field(m, m.labels[name], value)
		}
	}
	for _, note := range slices.Sorted(maps.Keys(m.annotations)) {
		k.field(m, m.annotations[note], s.Summary)
	}
	k.field(m, m.startsAt, s.Began.UTC().Format(time.RFC3339Nano))
	k.field(m, m.occurredAt, s.At.UTC().Format(time.RFC3339Nano))
	for _, id := range []*mapped{m.dedup, m.episode, m.incidentKey} {
		k.field(m, id, s.ID)
	}
	k.field(m, m.link, "https://sender.example.com/"+s.ID)
	for _, name := range slices.Sorted(maps.Keys(m.labels)) {
		k.field(m, m.labels[name], "sample") // for labels that the sample does not give
	}
}

// field puts a value where an expression reads it, unless there is one.
func (k *sketch) field(m *genericMapping, of *mapped, value any) {
	if of == nil {
		return
	}
	if at, ok := chain(of.expr(), m.item()); ok {
		k.put(at, value)
	}
}

// state puts what makes a condition true, or false.
func (k *sketch) state(m *genericMapping, of *mapped, wanted bool) {
	if of == nil {
		return
	}
	if at, value, ok := meets(of.expr(), m.item(), wanted); ok {
		k.put(at, value)
	}
}

func (m *mapped) expr() ast.Expr { return m.ast.NativeRep().Expr() }

// item is the path of `item`: the first of the list that `each` gives.
func (m *genericMapping) item() []any {
	if m.each == nil {
		return nil
	}
	at, _ := chain(m.each.expr(), nil)
	return append(slices.Clone(at), 0)
}

// chain gives the path that a chain of fields such as payload.host["name"] reads; the keys are texts and, in a list, numbers.
func chain(e ast.Expr, item []any) ([]any, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		if e.AsIdent() == itemName {
			return item, true
		}
		return nil, e.AsIdent() == payloadName
	case ast.SelectKind:
		at, ok := chain(e.AsSelect().Operand(), item)
		return append(slices.Clone(at), e.AsSelect().FieldName()), ok && !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		return called(e.AsCall(), item)
	default:
		return nil, false
	}
}

// called looks through what reads a field, and through conversions.
func called(c ast.CallExpr, item []any) ([]any, bool) {
	args := c.Args()
	switch c.FunctionName() {
	case "string", "timestamp":
		if len(args) == 1 {
			return chain(args[0], item)
		}
	case operators.Index, operators.OptIndex, operators.OptSelect:
		at, ok := chain(args[0], item)
		key, literal := literalOf(args[1])
		name, text := key.(string)
		return append(slices.Clone(at), name), ok && literal && text
	}
	return nil, false
}

func literalOf(e ast.Expr) (any, bool) {
	if e.Kind() != ast.LiteralKind {
		return nil, false
	}
	return e.AsLiteral().Value(), true
}

// meets gives what makes a condition come out as wanted, where it is a field or compares one with something written out.
func meets(e ast.Expr, item []any, wanted bool) (at []any, value any, ok bool) {
	if at, ok := chain(e, item); ok {
		return at, wanted, true
	}
	if e.Kind() != ast.CallKind {
		return nil, nil, false
	}
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.LogicalNot:
		return meets(args[0], item, !wanted)
	case operators.NotEquals:
		return equals(args, item, !wanted)
	case operators.Equals:
		return equals(args, item, wanted)
	case operators.In:
		if args[1].Kind() == ast.ListKind && args[1].AsList().Size() > 0 {
			return equals([]ast.Expr{args[0], args[1].AsList().Elements()[0]}, item, wanted)
		}
	}
	return nil, nil, false
}

func equals(args []ast.Expr, item []any, wanted bool) (at []any, value any, ok bool) {
	at, ok = chain(args[0], item)
	value, literal := literalOf(args[1])
	if !wanted {
		value = other(value)
	}
	return at, value, ok && literal
}

// other is a value that the given one is not.
func other(value any) any {
	switch v := value.(type) {
	case bool:
		return !v
	case string:
		return "not " + v
	case int64:
		return v + 1
	default:
		return "something else"
	}
}

// put writes a value at a path whose last step is not taken yet; one that leads through something else than objects and lists is left.
func (k *sketch) put(at []any, value any) {
	if len(at) == 0 {
		if k.root == nil {
			k.root = value
		}
		return
	}
	if _, taken := k.get(at); taken {
		return
	}
	holder := at[:len(at)-1]
	if _, there := k.get(holder); !there {
		k.put(holder, map[string]any{})
	}
	within, _ := k.get(holder)
	name, isName := at[len(at)-1].(string)
	if fields, ok := within.(map[string]any); ok && isName {
		fields[name] = value
	}
}

func (k *sketch) get(at []any) (any, bool) {
	here := k.root
	for _, step := range at {
		switch inside := here.(type) {
		case map[string]any:
			name, _ := step.(string)
			next, ok := inside[name]
			if !ok {
				return nil, false
			}
			here = next
		case []any:
			i, isIndex := step.(int)
			if !isIndex || i >= len(inside) {
				return nil, false
			}
			here = inside[i]
		default:
			return nil, false
		}
	}
	return here, here != nil
}
