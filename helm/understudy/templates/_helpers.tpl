{{- define "understudy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: understudy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
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
{{- define "understudy.caConfigMap" -}}{{ include "understudy.name" . }}-ca{{- end }}
{{- define "understudy.audience" -}}{{ include "understudy.engine" . }}.{{ .Release.Namespace }}{{- end }}

{{- define "understudy.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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

{{- /* understudy.environment (dict "prefix" "UNDERSTUDY" "config" .Values.config): the
     keys of a configuration as a JSON object of variables. */}}
{{- define "understudy.environment" -}}
{{- $all := dict }}
{{- range $key, $value := .config }}
{{- $name := printf "%s_%s" $.prefix ($key | upper | replace "-" "_") }}
{{- if kindIs "map" $value }}
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
