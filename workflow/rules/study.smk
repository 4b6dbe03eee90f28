# What each step of the line of work is worth: the tables behind the target 'ablation'.


rule study:
    input:
        unpack(plan.study_inputs),
    output:
        f"{BASE}/ablation/manifest.json",
        report(
            f"{BASE}/ablation/ablation.md",
            caption="../report/ablation.rst",
            category="Results",
        ),
        f"{BASE}/ablation/ablation.csv",
    log:
        "logs/{dataset}/ablation.log",
    benchmark:
        "logs/{dataset}/ablation.tsv"
    conda:
        "../../envs/environment.yml"
    threads: 1
    resources:
        mem_mb=NEEDS["study"].memory,
        runtime=NEEDS["study"].minutes,
    params:
        command=plan.command("study"),
        tee=plan.tee,
    message:
        "Tables of the ablation study ({wildcards.dataset})"
    shell:
        "{params.command} 2>&1 | {params.tee} {log:q}"
