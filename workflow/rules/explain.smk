# Explanations of classifiers, measured and pictured: their own target, 'explain'.


rule explanation:
    input:
        unpack(plan.inputs("explanation")),
    output:
        f"{RUN}/explanations/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/explanations/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/explanations/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("explanation"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=plan.gpus,
        mem_mb=plan.shared_memory("explanation"),
        runtime=NEEDS["explanation"].minutes,
    params:
        command=plan.command("explanation"),
        tee=plan.tee,
    message:
        "Explanations {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"


use rule explanation as explanation_shard with:
    output:
        f"{RUN}/explanations/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/explanations/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/explanations/{name}/{part}-of-{parts}.tsv"
    message:
        "Explanations {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule explanations:
    input:
        unpack(plan.explanation_inputs),
    output:
        f"{BASE}/explanations/manifest.json",
        report(
            f"{BASE}/explanations/explanations.md",
            caption="../report/explanations.rst",
            category="Results",
        ),
        f"{BASE}/explanations/explanations.csv",
        directory(f"{BASE}/explanations/pictures"),
    log:
        "logs/{dataset}/explanations.log",
    benchmark:
        "logs/{dataset}/explanations.tsv"
    conda:
        "../../envs/environment.yml"
    threads: 1
    resources:
        mem_mb=NEEDS["explanations"].memory,
        runtime=NEEDS["explanations"].minutes,
    params:
        command=plan.command("explanations"),
        tee=plan.tee,
    message:
        "Table of the explanations ({wildcards.dataset})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"
