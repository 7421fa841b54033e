{{- /* An upgrade with --reuse-values has the values of the chart before and none that came
     since: `default dict` has what those would bring stay off, here and in the templates. */}}
{{- define "understudy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: understudy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The labels of what the Prometheus operator reads: it may look for those with one of its own. */}}
{{- define "understudy.monitoringLabels" -}}
{{- mergeOverwrite (include "understudy.labels" . | fromYaml) (.Values.monitoring.labels | default dict) | toYaml }}
{{- end }}

{{- /* understudy.selector (dict "root" . "part" "engine") */}}
{{- define "understudy.selector" -}}
app.kubernetes.io/name: understudy
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "understudy.name" -}}
{{- if contains "understudy" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-understudy" (.Release.Name | trunc 39 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "understudy.injector" -}}{{ include "understudy.name" . }}-injector{{- end }}
{{- define "understudy.engine" -}}{{ include "understudy.name" . }}-engine{{- end }}
{{- define "understudy.collector" -}}{{ include "understudy.name" . }}-collector{{- end }}
{{- define "understudy.caConfigMap" -}}{{ include "understudy.name" . }}-ca{{- end }}
{{- /* The ConfigMap with the base-URL variables. A kubelet reads it again when it starts a
     container again, and a pod's sidecar listens where it did; so another port has another
     ConfigMap, and the one before is left to the pods that have it. */}}
{{- define "understudy.variablesConfigMap" -}}
{{- $port := int .Values.sidecar.gatewayPort -}}
{{ .Values.sidecar.variablesConfigMap }}{{ if ne $port 4141 }}-{{ $port }}{{ end }}
{{- end }}
{{- define "understudy.audience" -}}{{ include "understudy.engine" . }}.{{ .Release.Namespace }}{{- end }}

{{- define "understudy.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The engine's image, which may be another one: a GPU wants more than sidecars should carry. */}}
{{- define "understudy.engineImage" -}}
{{- /* An upgrade that reuses an older chart's values has none. */}}
{{- $image := .Values.engine.image | default dict }}
{{- $repository := $image.repository | default .Values.image.repository }}
{{- with $image.digest }}{{ $repository }}@{{ . }}{{ else }}{{ $repository }}:{{ $image.tag | default .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The image that fetches models: it has Python's pip, which the other has not. */}}
{{- define "understudy.puller" -}}
{{ .Values.engine.model.puller | default (printf "%s-pull:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)) }}
{{- end }}

{{- /* What Pod Security's "restricted" asks, and a root file system that stays as it is */}}
{{- define "understudy.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsGroup: 65532
runAsNonRoot: true
runAsUser: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* The sidecars' configuration as a JSON object: traces go to the chart's own
     collector, where there is one and nothing else is said. */}}
{{- define "understudy.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if and (.Values.collector | default dict).enabled (not (dig "telemetry" "endpoint" "" $config)) }}
{{- $port := ternary 4318 4317 (hasPrefix "http" (dig "telemetry" "protocol" "grpc" $config)) }}
{{- $ours := dict "signals" (list "traces") "endpoint" (printf "http://%s.%s.svc:%d" (include "understudy.collector" .) .Release.Namespace $port) }}
{{- $_ := set $config "telemetry" (merge (get $config "telemetry" | default dict) $ours) }}
{{- end }}
{{- $config | toJson }}
{{- end }}

{{- /* understudy.environment (dict "prefix" "UNDERSTUDY" "config" .Values.config): the
     keys of a configuration as a JSON object of variables. In a name `_` stands for what a
     variable cannot have (`alike` in the sidecar), and a stage that is a table is one
     variable, as TOML has it inline. */}}
{{- define "understudy.environment" -}}
{{- $all := dict }}
{{- range $key, $value := .config }}
{{- $name := printf "%s_%s" $.prefix (regexReplaceAll "[-. ]" (upper $key) "_") }}
{{- $isStage := and (regexMatch "^UNDERSTUDY_(POLICY|TASKS_.+)$" $.prefix) (has $key (list "max_stage" "multi_turn_max_stage")) }}
{{- if and $isStage (kindIs "map" $value) }}
{{- $_ := set $all $name ($value | toJson | replace ":" " = ") }}
{{- else if kindIs "map" $value }}
{{- $all = merge $all (include "understudy.environment" (dict "prefix" $name "config" $value) | fromJson) }}
{{- else if kindIs "slice" $value }}
{{- $_ := set $all $name (join "," $value) }}
{{- else if kindIs "float64" $value }}
{{- /* Helm reads whole numbers as floats */}}
{{- $_ := set $all $name (ternary (printf "%.0f" $value) (printf "%v" $value) (eq $value (floor $value))) }}
{{- else }}
{{- $_ := set $all $name (printf "%v" $value) }}
{{- end }}
{{- end }}
{{- $all | toJson }}
{{- end }}

{{- /* understudy.text VALUE: a quantity as text. Helm reads whole numbers as floats, and
     would write large ones with an exponent. */}}
{{- define "understudy.text" -}}
{{ if kindIs "float64" . }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{- /* understudy.number VALUE: what a quantity comes to. */}}
{{- define "understudy.number" -}}
{{- $text := include "understudy.text" . }}
{{- $unit := regexFind "[A-Za-z]*$" $text }}
{{- $number := trimSuffix $unit $text | float64 }}
{{- if eq $unit "m" }}{{ divf $number 1000.0 }}
{{- else }}
{{- $times := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- mulf $number (get $times $unit) }}
{{- end }}
{{- end }}

{{- /* understudy.checkResources (dict "name" "sidecar.resources" "resources" .): the API
     server refuses a pod with a container that asks for more than its limit. */}}
{{- define "understudy.checkResources" -}}
{{- $all := .resources | default dict }}
{{- $limits := $all.limits | default dict }}
{{- range $what, $request := $all.requests | default dict }}
{{- with get $limits $what }}
{{- if gt (include "understudy.number" $request | float64) (include "understudy.number" . | float64) }}
{{- fail (printf "%s.requests.%s is %v, which is above its limit of %v: every pod with it would be refused" $.name $what $request .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The base-URL variables, as a JSON object. They lead to the sidecar or nowhere. */}}
{{- define "understudy.variables" -}}
{{- $all := dict }}
{{- $port := int .Values.sidecar.gatewayPort }}
{{- range $name, $written := .Values.sidecar.variables }}
{{- $url := tpl $written $ }}
{{- if not (regexMatch (printf "^http://127\\.0\\.0\\.1:%d(/|$)" $port) $url) }}
{{- fail (printf "sidecar.variables.%s is %s and does not lead to sidecar.gatewayPort, which is %d; write http://127.0.0.1:{{ .Values.sidecar.gatewayPort }}/…, which follows it" $name $url $port) }}
{{- end }}
{{- $_ := set $all $name $url }}
{{- end }}
{{- $all | toJson }}
{{- end }}
